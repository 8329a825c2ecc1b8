"""Greedy assignment of ranked detections to ground truth."""

import numpy as np


def greedy_match(
    group: np.ndarray, rank: np.ndarray, det: np.ndarray, gt: np.ndarray, iou: np.ndarray
) -> np.ndarray:
    """Each detection, best first, takes the unmatched ground truth it overlaps most.

    Args:
        group: (P,) int, frame-and-class or video-and-class of every admissible pair.
        rank: (P,) place of the pair's detection among its group's, lowest first.
        det: (P,) detection of the pair.
        gt: (P,) ground truth of the pair.
        iou: (P,) overlap of the pair, already at or above the threshold.

    Returns:
        (D,) int: the detections that are matched (true positives), each to a ground truth of
        its own. Of equal overlaps the first ground truth is taken.
    """
    if det.size == 0:
        return np.zeros(0, np.int64)
    order = np.lexsort((gt, -iou, rank, group))
    group, det, gt = group[order], det[order], gt[order]
    det_taken = np.zeros(det.max() + 1, bool)
    gt_taken = np.zeros(gt.max() + 1, bool)
    while group.size:
        # the first pair left in every group is decided, whatever the others are
        first = np.concatenate(([True], group[1:] != group[:-1]))
        det_taken[det[first]] = True
        gt_taken[gt[first]] = True
        left = ~(det_taken[det] | gt_taken[gt])
        group, det, gt = group[left], det[left], gt[left]
    return np.flatnonzero(det_taken)
