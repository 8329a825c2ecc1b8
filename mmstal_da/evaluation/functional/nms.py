"""Non-maximum suppression inside many groups of boxes at once."""

import numpy as np

from .iou import coordinate_iou
from .ranking import descending_rows
from .segments import batches_by_size

BATCH = 1 << 14  # boxes processed together: few calls, and arrays that stay in the cache


def suppression_weights(
    boxes: np.ndarray,
    scores: np.ndarray,
    offsets: np.ndarray,
    iou_threshold: float = 0.6,
    pixel: float = 1.0,
    ties: str = 'stable',
) -> np.ndarray:
    """One pass of greedy suppression in every group.

    The best remaining box of a group is kept. Every remaining box whose IoU with it is above the
    threshold leaves the queue with weight ``1 - IoU``. This repeats until the queue is empty.

    Args:
        boxes: (N, 4) float32 x1 y1 x2 y2.
        scores: (N,) float32.
        offsets: (G + 1,) group g is rows ``offsets[g]:offsets[g + 1]``.
        iou_threshold: IoU above which a box is suppressed.
        pixel: See :func:`~.iou.paired_iou`.
        ties: See :mod:`~.ranking`.

    Returns:
        (N,) float32: 1 for kept boxes, ``1 - IoU`` (below 1) for suppressed ones.
    """
    weights = np.ones(len(boxes), np.float32)
    for size, groups in batches_by_size(np.diff(offsets), BATCH):
        if size > 1:
            first = offsets[groups][:, None]
            rows = first + descending_rows(scores.take(first + np.arange(size)), ties)
            rows = rows.T  # (size, G), best box first
            weights[rows] = _ranked_weights(boxes.take(rows, axis=0), iou_threshold, pixel)
    return weights


def _ranked_weights(boxes: np.ndarray, iou_threshold: float, pixel: float) -> np.ndarray:
    """:func:`suppression_weights` of (n, G, 4) boxes, best first in every column."""
    columns = np.ascontiguousarray(np.moveaxis(boxes, -1, 0))  # (4, n, G)
    weights = np.ones(boxes.shape[:2], np.float32)
    waiting = np.ones(boxes.shape[:2], bool)
    for best in range(len(boxes) - 1):
        later = slice(best + 1, None)
        iou = coordinate_iou(*columns[:, best], *columns[:, later], pixel=pixel)
        suppressed = iou > np.float32(iou_threshold)
        suppressed &= waiting[best]
        suppressed &= waiting[later]
        np.copyto(weights[later], 1 - iou, where=suppressed)
        waiting[later] ^= suppressed
    return weights


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
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray(scores, np.float32)
    offsets = np.array([0, len(scores)])
    weights = suppression_weights(boxes, scores, offsets, iou_threshold, pixel, ties)
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
        # an item is final if it loses to no undecided item
        contested = np.zeros(count, bool)
        contested[loser] = True
        final = ~contested[winner]
        kept[loser[final]] = False
        remaining = kept[winner] & kept[loser] & ~final
        winner, loser = winner[remaining], loser[remaining]
    return kept
