"""Index arithmetic on sorted groups; it replaces loops over frames, videos and classes."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np


def stable_argsort(key: np.ndarray) -> np.ndarray:
    """Stable order of (N,) non-negative whole numbers.

    A radix sort by 16-bit digits (NumPy sorts those in linear time); a sorted key costs one scan.
    """
    if key.size == 0 or (key[1:] >= key[:-1]).all():
        return np.arange(key.size)
    order = np.argsort(key.astype(np.uint16), kind='stable')  # keeps the lowest 16 bits
    for shift in range(16, int(key.max()).bit_length(), 16):
        digit = (key >> shift).astype(np.uint16)
        order = order[np.argsort(digit[order], kind='stable')]
    return order


def group_starts(key: np.ndarray) -> np.ndarray:
    """First row of every run of equal values, and the number of rows at the end.

    Args:
        key: (N,) sorted values.

    Returns:
        (G + 1,) int64 offsets: group g is rows ``offsets[g]:offsets[g + 1]``.
    """
    if key.size == 0:
        return np.zeros(1, np.int64)
    return np.concatenate(([0], np.flatnonzero(key[1:] != key[:-1]) + 1, [key.size]))


def slices_by_value(key: np.ndarray, size: int) -> list[slice]:
    """Rows of the values 0..size-1 in a sorted key."""
    return [slice(*edge) for edge in pairwise(np.searchsorted(key, np.arange(size + 1)).tolist())]


def find_keys(sorted_keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find ``wanted`` values in strictly increasing keys.

    Returns:
        (K,) positions in ``wanted`` of the values that occur, (K,) their places in ``sorted_keys``.
    """
    if sorted_keys.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(sorted_keys, wanted), sorted_keys.size - 1)
    found = np.flatnonzero(sorted_keys[place] == wanted)
    return found, place[found]


def expand_ranges(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Concatenate ``arange(s, s + c)`` for every pair (s, c); shape (sum of counts,) int64."""
    ends = np.cumsum(count)
    if ends.size == 0 or ends[-1] == 0:
        return np.zeros(0, np.int64)
    return np.arange(ends[-1]) + np.repeat(start - (ends - count), count)


def expand_products(
    start_a: np.ndarray, count_a: np.ndarray, start_b: np.ndarray, count_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (a, b) between range a and range b, for every row of the arguments.

    Pairs of one row come a first: (a0, b0), (a0, b1), ...

    Returns:
        Two (P,) int64 arrays with P the sum of ``count_a * count_b``.
    """
    a = expand_ranges(start_a, count_a)
    b_count = np.repeat(count_b, count_a)
    b = expand_ranges(np.repeat(start_b, count_a), b_count)
    return np.repeat(a, b_count), b


def chunks(count: np.ndarray, limit: int) -> Iterator[slice]:
    """Cut consecutive groups into slices of at most ``limit`` elements (or one group)."""
    total = np.cumsum(count)
    begin = 0
    while begin < total.size:
        done = total[begin - 1] if begin else 0
        end = max(int(np.searchsorted(total, done + limit, side='right')), begin + 1)
        yield slice(begin, end)
        begin = end


def batches_by_size(count: np.ndarray, limit: int) -> Iterator[tuple[int, np.ndarray]]:
    """Groups of equal size, for use in one dense array.

    Args:
        count: (G,) sizes; empty groups are left out.
        limit: Largest number of elements in a batch (but at least one group).

    Yields:
        The size and the (B,) numbers of some groups of that size.
    """
    order = stable_argsort(count)
    for begin, end in pairwise(group_starts(count[order]).tolist()):
        size = int(count[order[begin]])
        if size:
            step = max(limit // size, 1)
            for first in range(begin, end, step):
                yield size, order[first : min(first + step, end)]
