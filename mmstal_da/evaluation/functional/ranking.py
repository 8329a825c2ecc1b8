"""Descending order of scores, and what happens to equal ones.

The public ACT/MOC evaluator ranks with ``np.argsort``, which leaves equal scores in an order that
depends on NumPy's sorting kernel, hence on the CPU. ``ties='numpy'`` does the same to reproduce its
numbers; ``ties='stable'`` puts the earlier row first and gives one result everywhere.
"""

from itertools import pairwise

import numpy as np

from .segments import group_starts


def descending(scores: np.ndarray, ties: str = 'stable') -> np.ndarray:
    """Order of (N,) scores from the highest; ``ties`` is ``'numpy'`` or ``'stable'``."""
    return np.argsort(-scores, kind='stable' if ties == 'stable' else None)


def descending_in_groups(
    scores: np.ndarray, offsets: np.ndarray, ties: str = 'stable'
) -> np.ndarray:
    """Order of the rows by group, then descending score.

    With ``ties='numpy'`` a group is ranked as ``np.argsort(scores)[::-1]`` ranks it.

    Args:
        scores: (N,) float32.
        offsets: (G + 1,) group g is rows ``offsets[g]:offsets[g + 1]``.
        ties: ``'numpy'`` or ``'stable'``.
    """
    order = np.arange(len(scores))
    count = np.diff(offsets)
    by_size = np.argsort(count, kind='stable')
    edges = group_starts(count[by_size])
    for begin, end in pairwise(edges.tolist()):
        size = count[by_size[begin]]
        if size < 2:
            continue
        first = offsets[by_size[begin:end]][:, None]  # groups of one size are sorted together
        block = scores[first + np.arange(size)]
        if ties == 'stable':
            ranked = np.argsort(-block, axis=1, kind='stable')
        else:
            ranked = np.argsort(block, axis=1)[:, ::-1]
        order[first + np.arange(size)] = first + ranked
    return order
