"""Online linking of frame detections into tubes, all videos and classes side by side.

The definition (ACT's ``BuildTubes`` for one-frame tubelets) is sequential: at every frame the
current tubes, best mean score first, each take the highest-scoring free box that overlaps their
last one. Which boxes overlap does not depend on that order, so all admissible pairs are found at
once; only pairs that compete for a tube or a box are resolved frame by frame.
"""

from itertools import pairwise

import numpy as np

from .iou import paired_iou
from .protocol import Protocol
from .segments import chunks, expand_products, group_starts
from .tubes import TubeSet, fill_gaps

CHUNK = 1 << 19  # candidate pairs compared together


def link_tubes(
    chain: np.ndarray, frame: np.ndarray, boxes: np.ndarray, scores: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Link boxes of one class in consecutive frames.

    Args:
        chain: (N,) int, number of the video and class; boxes of different chains never link.
        frame: (N,) int, 1-based.
        boxes: (N, 4) float32.
        scores: (N,) float32. Rows are sorted by chain, then frame, then descending score.
        protocol: ``link_iou`` and ``max_gap`` are used.

    Returns:
        ``order`` (N,) rows sorted by tube, then frame, and ``offsets`` (T + 1,): tube t is rows
        ``order[offsets[t]:offsets[t + 1]]``. Tubes are ordered by chain, first frame and the rank
        of their first box. Of current tubes with equal mean score the earlier chooses first.
    """
    last, new = _candidate_pairs(chain, frame, boxes, protocol)
    tube = _resolve(chain, frame, scores, last, new)
    order = np.argsort(tube, kind='stable')
    return order, group_starts(tube[order])


def _candidate_pairs(chain, frame, boxes, protocol) -> tuple[np.ndarray, np.ndarray]:
    """Rows (earlier, later) of all box pairs within ``max_gap`` frames with enough overlap."""
    if len(frame) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # a stride that keeps `frame - gap` of one chain clear of the frames of the chain before
    stride = int(frame.max()) + protocol.max_gap + 1
    key = chain.astype(np.int64) * stride + frame
    offsets = group_starts(key)
    count = np.diff(offsets)
    key = key[offsets[:-1]]
    threshold = np.float32(protocol.link_iou)
    lasts, news = [], []
    for gap in range(1, protocol.max_gap + 1):
        before = np.searchsorted(key, key - gap)
        now = np.flatnonzero(key[before] == key - gap)
        before = before[now]
        for part in chunks(count[now] * count[before], CHUNK):
            a, b = before[part], now[part]
            last, new = expand_products(offsets[a], count[a], offsets[b], count[b])
            overlaps = paired_iou(boxes[last], boxes[new], protocol.pixel) >= threshold
            lasts.append(last[overlaps])
            news.append(new[overlaps])
    if not lasts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(lasts), np.concatenate(news)


def _resolve(chain, frame, scores, last, new) -> np.ndarray:
    """Tube of every row, named by the tube's first row."""
    order = np.argsort(frame[new], kind='stable')
    last, new = last[order], new[order]
    steps = group_starts(frame[new])
    tube = np.arange(len(frame))
    tail = np.arange(len(frame))  # last row of the tube, at the tube's first row
    total = scores.astype(np.float64)  # sum of the tube's scores, likewise
    length = np.ones(len(frame), np.int64)

    def extend(t: np.ndarray, row: np.ndarray) -> None:
        tube[row] = t
        tail[t] = row
        total[t] += scores[row]
        length[t] += 1

    for begin, end in pairwise(steps.tolist()):
        p, q = last[begin:end], new[begin:end]
        t = tube[p]
        current = tail[t] == p
        if not current.all():
            p, q, t = p[current], q[current], t[current]
        mean = (total[t] / length[t]).astype(np.float32)
        # rows ascend with descending score, so the lowest row is the best box
        rank = np.lexsort((q, t, -mean, chain[q]))
        t, q = t[rank], q[rank]
        group = chain[q]
        while t.size:
            first = np.concatenate(([True], group[1:] != group[:-1]))
            extend(t[first], q[first])
            left = ~(np.isin(t, t[first]) | np.isin(q, q[first]))
            t, q, group = t[left], q[left], group[left]
    return tube


def build_tubes(
    video: np.ndarray,
    label: np.ndarray,
    frame: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    protocol: Protocol,
) -> TubeSet:
    """Link the boxes kept per frame and class, score the tubes and drop the weak and short ones.

    Args:
        video: (N,) int.
        label: (N,) int.
        frame: (N,) int, 1-based.
        boxes: (N, 4) float32.
        scores: (N,) float32. Rows are sorted by label, video, frame and descending score.
        protocol: ``link_iou``, ``max_gap``, ``min_score`` and ``min_length`` are used.

    Returns:
        Tubes with one row per frame, gaps filled linearly **[derived]**.
    """
    same = (video[1:] == video[:-1]) & (label[1:] == label[:-1])
    chain = np.concatenate(([0], np.cumsum(~same))) if len(video) else video
    order, offsets = link_tubes(chain, frame, boxes, scores, protocol)
    return keep_tubes(video, label, frame, boxes, scores, order, offsets, protocol)


def keep_tubes(video, label, frame, boxes, scores, order, offsets, protocol: Protocol) -> TubeSet:
    """Tubes of at least ``min_score`` and ``min_length`` as a :class:`TubeSet`."""
    count = np.diff(offsets)
    number = np.repeat(np.arange(len(count)), count)
    mean = np.bincount(number, scores[order], len(count)) / np.maximum(count, 1)
    mean = mean.astype(np.float32)
    length = frame[order[offsets[1:] - 1]] - frame[order[offsets[:-1]]] + 1
    keep = (mean >= np.float32(protocol.min_score)) & (length >= protocol.min_length)
    order = order[keep[number]]
    offsets = np.concatenate(([0], np.cumsum(count[keep])))
    first = order[offsets[:-1]]
    return fill_gaps(
        video[first].astype(np.int64),
        label[first].astype(np.int64),
        mean[keep],
        offsets,
        frame[order].astype(np.int64),
        boxes[order],
        scores[order],
        interpolate=True,
    )
