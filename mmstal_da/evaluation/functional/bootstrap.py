"""How sure a difference between two detectors is: bootstrap over the videos of one test set."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .detections import Detections
from .evaluate import evaluate_detections
from .ground_truth import GroundTruth
from .protocol import Protocol
from .segments import expand_ranges, stable_argsort
from .tubes import TubeSet

METRICS = ('frame_mAP@{frame_iou:g}', 'video_mAP@0.2', 'video_mAP@0.5', 'video_mAP@0.5:0.95')


def resample_videos(
    dets: Detections, gt: GroundTruth, chosen: np.ndarray
) -> tuple[Detections, GroundTruth]:
    """The test set whose video i is video ``chosen[i]`` of another one.

    Args:
        dets: Detections on ``gt``.
        gt: Ground truth of V videos.
        chosen: (W,) indices of videos; a video may come several times.

    Returns:
        Detections and ground truth of W videos.
    """
    rows, new = _rows_of(dets.video, len(gt.videos), chosen)
    picked = dets.take(rows)
    picked.video = new.astype(dets.video.dtype)
    return picked, resample_truth(gt, chosen)


def resample_truth(gt: GroundTruth, chosen: np.ndarray) -> GroundTruth:
    """The ground truth of :func:`resample_videos`."""
    index, video = _rows_of(gt.tubes.video, len(gt.videos), chosen)
    tubes = gt.tubes.take(index)
    length = tubes.end - tubes.begin + 1
    boxes = expand_ranges(tubes.offset, length)
    tubes = TubeSet(
        video,
        tubes.label,
        tubes.score,
        tubes.begin,
        tubes.end,
        np.concatenate(([0], np.cumsum(length)))[:-1].astype(np.int64),
        tubes.boxes[boxes],
        tubes.box_scores[boxes],
        tubes.valid[boxes],
    )
    names = [f'{number}:{gt.videos[video]}' for number, video in enumerate(chosen)]
    return GroundTruth(gt.labels, names, gt.num_frames[chosen], tubes)


def _rows_of(video: np.ndarray, count: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the chosen videos one after the other, and the new video of each row."""
    order = stable_argsort(video)
    start = np.searchsorted(video[order], np.arange(count + 1))
    length = np.diff(start)[chosen]
    rows = order[expand_ranges(start[:-1][chosen], length)]
    return rows, np.repeat(np.arange(len(chosen)), length)


def paired_bootstrap(
    runs: Sequence[Detections],
    gt: GroundTruth,
    protocol: Protocol,
    background_frames: bool = True,
    rounds: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> list[dict[str, dict[str, float]]]:
    """Differences of every run to the first, on the same resampled videos.

    A round draws as many videos as there are, with replacement, and scores all runs on them. The
    interval is between the percentiles of the rounds' differences. It says how far the choice of
    test videos moves a difference; it says nothing about seeds of training.

    Args:
        runs: Detections of two or more runs on ``gt``.
        gt: Ground truth.
        protocol: The constants.
        background_frames: See :func:`~.evaluate.evaluate_detections`.
        rounds: Number of draws.
        seed: Of the draws.
        level: Of the interval.

    Returns:
        For each run but the first: metric -> ``difference`` in points on all videos, ``low`` and
        ``high``, and ``share``, how often the run was ahead.
    """
    metrics = [name.format(frame_iou=protocol.frame_iou) for name in METRICS]

    def score(dets: Detections, truth: GroundTruth) -> list[float]:
        result = evaluate_detections(dets, truth, protocol, background_frames)
        values = [result.get(metric) for metric in metrics]
        return [np.nan if value is None else float(value) for value in values]

    whole = np.array([score(run, gt) for run in runs])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        chosen = rng.integers(len(gt.videos), size=len(gt.videos))
        drawn.append([score(*resample_videos(run, gt, chosen)) for run in runs])
    differences = np.array(drawn)[:, 1:] - np.array(drawn)[:, :1]  # rounds, runs - 1, metrics
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(differences, [tail, 100 - tail], axis=0)
    share = (differences > 0).mean(0)
    return [
        {
            metric: dict(
                difference=float(whole[run + 1, m] - whole[0, m]),
                low=float(low[run, m]),
                high=float(high[run, m]),
                share=float(share[run, m]),
            )
            for m, metric in enumerate(metrics)
        }
        for run, _ in enumerate(pairwise(runs))
    ]
