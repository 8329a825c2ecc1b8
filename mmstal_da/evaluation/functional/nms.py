"""Non-maximum suppression inside many groups of boxes at once."""

import numpy as np

from .iou import coordinate_iou
from .ranking import descending_in_groups
from .segments import chunks, expand_ranges, group_starts

CHUNK = 1 << 17  # rows handled together: large enough to amortise NumPy's call cost


def suppression_weights(
    boxes: np.ndarray, offsets: np.ndarray, iou_threshold: float, pixel: float = 1.0
) -> np.ndarray:
    """One pass of greedy suppression in every group.

    The best remaining box of a group is kept; every remaining box with IoU above the threshold
    to it leaves the queue with weight ``1 - IoU``; repeat.

    Args:
        boxes: (N, 4) float32 x1 y1 x2 y2, by descending score within a group.
        offsets: (G + 1,) group g is rows ``offsets[g]:offsets[g + 1]``.
        iou_threshold: IoU above which a box is suppressed.
        pixel: See :func:`~.iou.paired_iou`.

    Returns:
        (N,) float32: 1 for kept boxes, ``1 - IoU`` (below 1) for suppressed ones.
    """
    weights = np.ones(len(boxes), np.float32)
    count = np.diff(offsets)
    several = np.flatnonzero(count > 1)
    for part in chunks(count[several], CHUNK):
        groups = several[part]
        rows = expand_ranges(offsets[groups], count[groups])
        group = np.repeat(np.arange(groups.size), count[groups])
        _suppress_chunk(boxes, rows, group, np.float32(iou_threshold), pixel, weights)
    return weights


def _suppress_chunk(boxes, rows, group, threshold, pixel, weights) -> None:
    """Runs the rounds of :func:`suppression_weights` on some groups; writes ``weights``."""
    columns = [np.ascontiguousarray(boxes[rows, i]) for i in range(4)]
    while rows.size:
        starts = group_starts(group)
        rest = np.ones(rows.size, bool)
        rest[starts[:-1]] = False
        followers = np.diff(starts) - 1
        best = [np.repeat(column[starts[:-1]], followers) for column in columns]
        columns = [column[rest] for column in columns]
        rows, group = rows[rest], group[rest]
        iou = coordinate_iou(*best, *columns, pixel=pixel)
        suppressed = iou > threshold
        weights[rows[suppressed]] = 1 - iou[suppressed]
        keep = ~suppressed
        rows, group = rows[keep], group[keep]
        columns = [column[keep] for column in columns]


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    iou_threshold: float = 0.6,
    method: str = 'soft',
    pixel: float = 1.0,
    ties: str = 'numpy',
) -> np.ndarray:
    """Suppress overlapping boxes of one frame and class.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,).
        iou_threshold: IoU above which a box is suppressed.
        method: ``'soft'`` or ``'hard'``.
        pixel: See :func:`~.iou.paired_iou`.
        ties: See :mod:`~.ranking`.

    Returns:
        (N,) float32 scores in input order: multiplied by ``1 - IoU`` where suppressed
        (``'soft'``), or -inf there (``'hard'``).
    """
    boxes = np.asarray(boxes, np.float32)
    scores = np.asarray(scores, np.float32)
    offsets = np.array([0, len(scores)])
    order = descending_in_groups(scores, offsets, ties)
    weights = np.ones(len(scores), np.float32)
    weights[order] = suppression_weights(boxes[order], offsets, iou_threshold, pixel)
    if method == 'soft':
        return scores * weights
    return np.where(weights < 1, np.float32(-np.inf), scores)


def suppress_pairs(winner: np.ndarray, loser: np.ndarray, count: int) -> np.ndarray:
    """Greedy hard NMS from a list of overlapping pairs.

    Args:
        winner: (P,) the item of better rank of each pair.
        loser: (P,) the other item.
        count: Number of items.

    Returns:
        (count,) bool: True for items that no kept item suppresses.
    """
    kept = np.ones(count, bool)
    while winner.size:
        # an item that loses to nobody who is still undecided is final
        contested = np.zeros(count, bool)
        contested[loser] = True
        final = ~contested[winner]
        kept[loser[final]] = False
        remaining = kept[winner] & kept[loser] & ~final
        winner, loser = winner[remaining], loser[remaining]
    return kept
