"""Links detections into tubes as the evaluation does, without ground truth."""

import numpy as np

from mmstal_da.evaluation.functional import Detections, Protocol, TubeSet, get_protocol
from mmstal_da.evaluation.functional.evaluate import link_detections
from mmstal_da.evaluation.functional.frame_ap import suppress_frames


def link_tubes(dets: np.ndarray, protocol: Protocol | None = None) -> TubeSet:
    """Tubes of all videos and classes: NMS per frame and class, online linking, trimming.

    Args:
        dets: (M, 8) video index, 1-based frame, label, score, x1, y1, x2, y2.
        protocol: The constants; default ``'act'``.

    Returns:
        Tubes with the video indices and labels of ``dets``.
    """
    protocol = protocol or get_protocol('act')
    rows = np.asarray(dets)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0], rows[:, 2]))]  # by label, video, frame
    new = np.flatnonzero((rows[1:, :3] != rows[:-1, :3]).any(1)) + 1
    offsets = np.concatenate(([0], new, [len(rows)])) if len(rows) else np.zeros(1, np.int64)
    video, frame, label = rows[:, :3].T.astype(np.int32)
    found = Detections(
        video, frame, label, rows[:, 3].astype(np.float32), rows[:, 4:].astype(np.float32)
    )
    return link_detections(*suppress_frames(found, offsets, protocol), protocol)
