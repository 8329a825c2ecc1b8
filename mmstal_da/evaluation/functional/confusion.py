"""Which class the detector sees where: a confusion matrix of the frames' boxes."""

import numpy as np

from .detections import Detections
from .frame_ap import (
    BLOCK,
    evaluated_detections,
    pair_any_class,
    sort_detections,
    suppress_frames,
    video_blocks,
)
from .ground_truth import GroundTruth
from .matching import greedy_pairs
from .protocol import Protocol, get_protocol
from .ranking import descending
from .segments import stable_argsort

SCORE_THR = 0.3


def confusion_matrix(
    dets: Detections,
    gt: GroundTruth,
    protocol: Protocol | None = None,
    background_frames: bool = True,
    score_thr: float = SCORE_THR,
) -> np.ndarray:
    """Boxes of the frames, counted by class of ground truth and class of the detector.

    Detections go through the protocol's NMS, which is per class, and those with a score of at least
    ``score_thr`` afterwards are kept. In each frame the best remaining detection of any class takes
    the unmatched ground truth of any class that it overlaps most, if their IoU is at least
    ``frame_iou``. A detection that gets none counts as one on background: it overlaps nothing, or
    only what a better one has taken.

    Args:
        dets: Raw detections, as for :func:`~.evaluate.evaluate_detections`.
        gt: Ground truth.
        protocol: Default ``'act'``.
        background_frames: As for :func:`~.evaluate.evaluate_detections`.
        score_thr: Least score.

    Returns:
        (C + 1, C + 1) int64. Rows: classes of the ground truth, then background. Columns: classes
        of the detections, then missed. The last entry is 0. A row of a class adds up to its number
        of ground-truth boxes, a column to the number of its detections.
    """
    protocol = protocol or get_protocol('act')
    num_labels = len(gt.labels)
    _, truth_label, _, _ = gt.rows()
    matrix = np.zeros((num_labels + 1, num_labels + 1), np.int64)
    taken = np.zeros(len(truth_label), bool)
    dets = evaluated_detections(dets, gt, background_frames)
    for block in video_blocks(dets, len(gt.videos), BLOCK):
        block, _ = suppress_frames(*sort_detections(block, gt), protocol)
        block = block.take(np.flatnonzero(block.score >= np.float32(score_thr)))
        block = block.take(descending(block.score, protocol.ties))  # a detection's row is its rank
        det, row, iou = pair_any_class(block, gt, protocol)
        number = gt.frame_number(block.video, block.frame)[det]
        by_frame = stable_argsort(number)
        number, det, row, iou = (item[by_frame] for item in (number, det, row, iou))
        pairs = greedy_pairs(number, det, row, iou)
        np.add.at(matrix, (truth_label[row[pairs]], block.label[det[pairs]]), 1)
        taken[row[pairs]] = True
        free = np.ones(len(block), bool)
        free[det[pairs]] = False
        matrix[-1, :-1] += np.bincount(block.label[free], minlength=num_labels)
    matrix[:-1, -1] = np.bincount(truth_label[~taken], minlength=num_labels)
    return matrix
