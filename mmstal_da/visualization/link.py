"""Links a dump's detections into tubes, as the evaluation does."""

from mmstal_da.datasets.annotation import Video
from mmstal_da.evaluation.functional import (
    GroundTruth,
    Protocol,
    TubeSet,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.functional.evaluate import link_detections
from mmstal_da.evaluation.functional.frame_ap import sort_detections, suppress_frames
from mmstal_da.evaluation.functional.video_ap import rank_tubes, suppress_tubes

from .detections_file import NamedDetections


def link_file(
    file: NamedDetections, videos: dict[str, Video], protocol: Protocol | None = None
) -> TubeSet:
    """Tubes of all videos of a dump, after tube NMS.

    Args:
        file: The detections.
        videos: Name to video; all videos of the dump are among them.
        protocol: The constants; default ``'act'``.

    Returns:
        Tubes whose video indices are those of ``file.videos``.
    """
    protocol = protocol or get_protocol('act')
    unannotated: GroundTruth = parse_ground_truth(
        {
            'labels': file.classes,
            'videos': file.videos,
            'nframes': {name: videos[name].num_frames for name in file.videos},
            'gttubes': {},
        }
    )
    dets = parse_detections(file.dets, file.videos, unannotated)
    dets, offsets = sort_detections(dets, unannotated)
    dets, offsets = suppress_frames(dets, offsets, protocol)
    return suppress_tubes(rank_tubes(link_detections(dets, offsets, protocol)), protocol)
