"""Descending order of scores, with two rules for equal scores.

The public ACT/MOC evaluator ranks with ``np.argsort``. Its order of equal scores depends on NumPy's
sorting kernel, and so on the CPU. ``ties='numpy'`` does the same to reproduce the evaluator's
numbers. ``ties='stable'`` puts the earlier row first and gives the same result everywhere.
"""

import numpy as np

from .segments import batches_by_size

BATCH = 1 << 17  # rows ranked together


def descending(scores: np.ndarray, ties: str = 'stable') -> np.ndarray:
    """Order of (N,) scores from the highest; ``ties`` is ``'numpy'`` or ``'stable'``."""
    return np.argsort(-scores, kind='stable' if ties == 'stable' else None)


def descending_rows(scores: np.ndarray, ties: str = 'stable') -> np.ndarray:
    """Order of every row of (G, n) scores from the highest.

    ``ties='numpy'`` computes ``np.argsort(row)[::-1]``, as the public evaluator does in a frame.
    """
    if ties == 'stable':
        return np.argsort(-scores, axis=1, kind='stable')
    return np.argsort(scores, axis=1)[:, ::-1]


def descending_in_groups(
    scores: np.ndarray, offsets: np.ndarray, ties: str = 'stable'
) -> np.ndarray:
    """Order of the rows by group, then by :func:`descending_rows`.

    Args:
        scores: (N,) float32.
        offsets: (G + 1,) group g is rows ``offsets[g]:offsets[g + 1]``.
        ties: ``'numpy'`` or ``'stable'``.
    """
    order = np.arange(len(scores))
    for size, groups in batches_by_size(np.diff(offsets), BATCH):
        if size > 1:
            first = offsets[groups][:, None]
            rows = first + np.arange(size)
            order[rows] = first + descending_rows(scores.take(rows), ties)
    return order
