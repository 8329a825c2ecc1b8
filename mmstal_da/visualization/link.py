"""Links detections into tubes as the evaluation does, without ground truth."""

import numpy as np

from mmstal_da.evaluation.functional import Detections, Protocol, TubeSet, get_protocol
from mmstal_da.evaluation.functional.evaluate import link_detections
from mmstal_da.evaluation.functional.frame_ap import suppress_frames
from mmstal_da.evaluation.functional.segments import group_starts, stable_argsort


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
    groups = rows[:, [2, 0, 1]]  # label, video, frame
    key = np.unique(groups, axis=0, return_inverse=True)[1].ravel()
    order = stable_argsort(key)
    rows, offsets = rows[order], group_starts(key[order])
    video, frame, label = rows[:, :3].T.astype(np.int32)
    found = Detections(
        video, frame, label, rows[:, 3].astype(np.float32), rows[:, 4:].astype(np.float32)
    )
    return link_detections(*suppress_frames(found, offsets, protocol), protocol)
