"""Index arithmetic on sorted groups: what replaces loops over frames, videos and classes."""

from collections.abc import Iterator

import numpy as np


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
