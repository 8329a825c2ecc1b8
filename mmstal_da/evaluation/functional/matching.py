"""Greedy assignment of ranked detections to ground truth."""

import numpy as np

from .segments import group_starts


def greedy_match(
    group: np.ndarray, rank: np.ndarray, gt: np.ndarray, iou: np.ndarray
) -> np.ndarray:
    """Each detection, best first, takes the unmatched ground truth it overlaps most.

    Args:
        group: (P,) int, sorted: the frame (or video) of every admissible pair of a detection and
            a ground truth.
        rank: (P,) int, rank of the pair's detection, lowest first; it identifies the detection.
        gt: (P,) int, ground truth of the pair.
        iou: (P,) overlap of the pair, already at or above the threshold.

    Returns:
        (D,) int, ranks of the matched detections (true positives). Of equal overlaps the first
        pair is taken.
    """
    return rank[greedy_pairs(group, rank, gt, iou)]


def greedy_pairs(
    group: np.ndarray, rank: np.ndarray, gt: np.ndarray, iou: np.ndarray
) -> np.ndarray:
    """(D,) int, the pairs that :func:`greedy_match` chooses."""
    chosen = [np.zeros(0, np.int64)]
    taken = np.zeros(gt.max() + 1 if gt.size else 0, bool)
    number = np.arange(group.size)
    while group.size:
        # the best detection of every group is final: the others do not affect it
        starts = group_starts(group)
        size = np.diff(starts)
        best = rank == np.repeat(np.minimum.reduceat(rank, starts[:-1]), size)
        overlap = np.where(best, iou, -1)
        top = overlap == np.repeat(np.maximum.reduceat(overlap, starts[:-1]), size)
        pairs = np.flatnonzero(top)
        pairs = pairs[group_starts(group[pairs])[:-1]]
        chosen.append(number[pairs])
        taken[gt[pairs]] = True
        left = ~(best | taken[gt])
        group, rank, gt, iou, number = (item[left] for item in (group, rank, gt, iou, number))
    return np.concatenate(chosen)


def best_match(det: np.ndarray, rank: np.ndarray, gt: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Each detection asks for the ground truth it overlaps most; the best that asks gets it.

    Args:
        det: (P,) int, not decreasing: the detection of every admissible pair.
        rank: (P,) int, its rank, lowest first.
        gt: (P,) int, ground truth of the pair.
        iou: (P,) overlap of the pair, already at or above the threshold.

    Returns:
        (D,) int, ranks of the matched detections (true positives). Of equal overlaps the ground
        truth of the lowest number is asked for.
    """
    order = np.lexsort((gt, -iou, det))
    chosen = order[group_starts(det[order])[:-1]]  # of every detection, its best pair
    order = np.lexsort((rank[chosen], gt[chosen]))
    return rank[chosen[order[group_starts(gt[chosen[order]])[:-1]]]]
