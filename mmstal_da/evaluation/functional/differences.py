"""On which videos two detectors differ most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ap import mean_over_classes
from .bootstrap import resample_truth
from .detections import Detections
from .evaluate import evaluate_detections
from .ground_truth import GroundTruth
from .protocol import Protocol, get_protocol
from .segments import stable_argsort


@dataclass(frozen=True)
class VideoDifference:
    """Scores of two runs on one video alone, in percent.

    Attributes:
        video: Index of the video.
        frame_ap: Of both runs: frame-AP, the mean over the classes that the video shows.
        video_ap: Likewise, video-AP at IoU 0.5.
    """

    video: int
    frame_ap: tuple[float, float]
    video_ap: tuple[float, float]

    @property
    def frames(self) -> float:
        """Points of frame-AP by which the second run is ahead."""
        return self.frame_ap[1] - self.frame_ap[0]

    @property
    def tubes(self) -> float:
        """The same in video-AP."""
        return self.video_ap[1] - self.video_ap[0]


def video_differences(
    first: Detections,
    second: Detections,
    gt: GroundTruth,
    protocol: Protocol | None = None,
    background_frames: bool = True,
) -> list[VideoDifference]:
    """Score two runs video by video.

    Args:
        first: Raw detections of a run.
        second: Of another.
        gt: Ground truth.
        protocol: Default ``'act'``.
        background_frames: As for :func:`~.evaluate.evaluate_detections`.

    Returns:
        Videos with ground truth: the largest difference in frame-AP first, of equal ones the
        largest in video-AP, then in the order of ``gt``.
    """
    protocol = protocol or get_protocol('act')
    iou = f'{protocol.frame_iou:g}'
    parts = [_by_video(run, len(gt.videos)) for run in (first, second)]
    found = []
    for video in np.unique(gt.tubes.video).tolist():
        truth = resample_truth(gt, np.array([video]))
        scores = []
        for part in parts:
            result = evaluate_detections(part[video], truth, protocol, background_frames)
            keys = (f'frame_AP@{iou}', 'video_AP@0.5')
            scores.append([_mean(result[key]) for key in keys])
        (frame_1, video_1), (frame_2, video_2) = scores
        found.append(VideoDifference(video, (frame_1, frame_2), (video_1, video_2)))
    return sorted(found, key=lambda item: (-abs(item.frames), -abs(item.tubes)))


def typical_videos(differences: Sequence[VideoDifference], gt: GroundTruth) -> list[list[int]]:
    """Videos of every class, those first in which the difference is most ordinary.

    Args:
        differences: Of :func:`video_differences`.
        gt: The same ground truth.

    Returns:
        Per class, indices of the videos with a tube of it, by the distance of their difference in
        frame-AP to the class's median; of equal ones in the order of ``gt``.
    """
    gains = {item.video: item.frames for item in differences}
    found = []
    for label in range(len(gt.labels)):
        videos = np.unique(gt.tubes.video[gt.tubes.label == label])
        points = np.array([gains[video] for video in videos.tolist()])
        middle = np.median(points) if len(points) else 0.0
        found.append(videos[np.argsort(np.abs(points - middle), kind='stable')].tolist())
    return found


def _by_video(dets: Detections, num_videos: int) -> list[Detections]:
    """The detections of every video, as of video 0."""
    order = stable_argsort(dets.video)
    edges = np.searchsorted(dets.video[order], np.arange(num_videos + 1))
    parts = [dets.take(order[edges[v] : edges[v + 1]]) for v in range(num_videos)]
    for part in parts:
        part.video = np.zeros_like(part.video)
    return parts


def _mean(values: list[float | None]) -> float:
    """Mean over the classes with ground truth."""
    return mean_over_classes([np.nan if value is None else value for value in values])
