"""Boxes on frames between key frames."""

import numpy as np

from .detections import Detections
from .evaluate import tubes_of
from .protocol import get_protocol


def interpolate_detections(dets: Detections, stride: int, link_iou: float = 0.5) -> Detections:
    """Detections of every ``stride``-th frame, with boxes and scores interpolated between them.

    Boxes of one class in consecutive key frames are linked as the evaluation links them (see
    :func:`~.linking.link_boxes`), without a limit on their number, score or length. Between linked
    boxes, box and score change linearly. A box without a link stays on its own frame.

    Args:
        dets: Of key frames that lie ``stride`` frames apart, in any order.
        stride: Frames from a key frame to the next; 1 changes nothing but the order.
        link_iou: Smallest IoU of linked boxes.

    Returns:
        The given detections and those between them, by class, video and tube.

    Raises:
        ValueError: ``stride`` is below 1.
    """
    if stride < 1:
        raise ValueError(f'the stride of key frames is at least 1, not {stride}')
    most = max(len(dets), 1)
    protocol = get_protocol(
        'act', max_gap=stride, link_iou=link_iou, min_score=0.0, min_length=1, nms_iou=1.0,
        keep_per_frame=most,
    )  # fmt: skip
    tubes = tubes_of(dets, protocol)
    length = tubes.end - tubes.begin + 1
    first = np.repeat(tubes.offset - tubes.begin, length)
    return Detections(
        np.repeat(tubes.video, length).astype(np.int32),
        (np.arange(len(tubes.boxes)) - first).astype(np.int32),
        np.repeat(tubes.label, length).astype(np.int32),
        tubes.box_scores,
        tubes.boxes,
    )
