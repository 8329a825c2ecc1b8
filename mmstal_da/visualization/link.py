"""Links detections into tubes, with the constants of the evaluation."""

from itertools import pairwise

import numpy as np

from mmstal_da.evaluation.functional import Protocol, TubeSet, build_tubes, get_protocol, nms


def link_tubes(dets: np.ndarray, protocol: Protocol | None = None) -> TubeSet:
    """Tubes of all videos and classes: NMS per frame and class, then online linking.

    Args:
        dets: (M, 8) video index, 1-based frame, label, score, x1, y1, x2, y2.
        protocol: The constants; default ``'act'``.

    Returns:
        Tubes with the video indices and labels of ``dets``.
    """
    protocol = protocol or get_protocol('act')
    rows = _sorted(np.asarray(dets, np.float64))
    offsets = _groups(rows)
    for start, end in pairwise(offsets):
        boxes, scores = rows[start:end, 4:], rows[start:end, 3]
        rows[start:end, 3] = nms(boxes, scores, protocol.nms_iou, protocol.nms, protocol.pixel)
    rows = _sorted(rows[np.isfinite(rows[:, 3])])
    offsets = _groups(rows)
    rank = np.arange(len(rows)) - np.repeat(offsets[:-1], np.diff(offsets))
    rows = rows[rank < protocol.keep_per_frame]
    video, frame, label = (rows[:, column].astype(np.int64) for column in (0, 1, 2))
    score, boxes = rows[:, 3].astype(np.float32), rows[:, 4:].astype(np.float32)
    return build_tubes(video, label, frame, boxes, score, protocol)


def _sorted(rows: np.ndarray) -> np.ndarray:
    """Rows by label, video, frame and descending score."""
    return rows[np.lexsort((-rows[:, 3], rows[:, 1], rows[:, 0], rows[:, 2]))]


def _groups(rows: np.ndarray) -> np.ndarray:
    """Offsets of the groups of one label, video and frame; (G + 1,)."""
    if not len(rows):
        return np.zeros(1, np.int64)
    changes = (rows[1:, :3] != rows[:-1, :3]).any(1)
    return np.concatenate(([0], np.flatnonzero(changes) + 1, [len(rows)]))
