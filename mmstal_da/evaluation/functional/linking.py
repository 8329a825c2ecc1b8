"""Online linking of frame detections into tubes, all videos and classes side by side.

The definition (ACT's ``BuildTubes`` for one-frame tubelets) is sequential. At every frame the
current tubes take turns, best mean score first. Each takes the highest-scoring free box that
overlaps its last box. Which boxes overlap does not depend on that order, so all admissible pairs
are found at once. Only pairs that compete for a tube or a box are resolved frame by frame.
"""

from itertools import pairwise

import numpy as np

from .detections import Detections
from .iou import coordinate_iou
from .protocol import Protocol
from .segments import find_keys, group_starts, stable_argsort
from .tubes import TubeSet, fill_gaps

BATCH = 1 << 16  # candidate pairs compared together


def link_boxes(
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
        of their first box. If current tubes have equal mean scores, the one with the lowest last
        row chooses first.
    """
    last, new = _candidate_pairs(chain, frame, boxes, protocol)
    tube = _resolve(chain, frame, scores, last, new)
    order = stable_argsort(tube)
    return order, group_starts(tube[order])


def _candidate_pairs(
    chain: np.ndarray, frame: np.ndarray, boxes: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (earlier, later) of all box pairs within ``max_gap`` frames with enough overlap."""
    if len(frame) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # a stride that keeps `frame - gap` of one chain clear of the frames of the chain before
    stride = int(frame.max()) + protocol.max_gap + 1
    key = chain.astype(np.int64) * stride + frame
    offsets = group_starts(key)
    count = np.diff(offsets)
    key = key[offsets[:-1]]
    lasts, news = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for gap in range(1, protocol.max_gap + 1):
        now, before = find_keys(key, key - gap)
        # frame pairs with equal numbers of boxes are compared as one dense array
        sizes = count[before] * (int(count.max()) + 1) + count[now]
        order = stable_argsort(sizes)
        for begin, end in pairwise(group_starts(sizes[order]).tolist()):
            a, b = before[order[begin:end]], now[order[begin:end]]
            step = max(BATCH // int(count[a[0]] * count[b[0]]), 1)
            for first in range(0, len(a), step):
                part = slice(first, first + step)
                last, new = _overlapping(boxes, offsets, count, a[part], b[part], protocol)
                lasts.append(last)
                news.append(new)
    return np.concatenate(lasts), np.concatenate(news)


def _overlapping(
    boxes: np.ndarray,
    offsets: np.ndarray,
    count: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    protocol: Protocol,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of overlapping boxes between groups a and b; all of a have one size, and all of b."""
    rows_a = offsets[a] + np.arange(count[a[0]])[:, None]  # (n, G)
    rows_b = offsets[b] + np.arange(count[b[0]])[:, None]  # (m, G)
    columns_a = np.ascontiguousarray(np.moveaxis(boxes.take(rows_a, axis=0), -1, 0))
    columns_b = np.ascontiguousarray(np.moveaxis(boxes.take(rows_b, axis=0), -1, 0))
    iou = coordinate_iou(*columns_a[:, :, None], *columns_b[:, None], pixel=protocol.pixel)
    flat = np.flatnonzero(iou >= np.float32(protocol.link_iou))  # of (n, m, G)
    i_j, group = np.divmod(flat, len(a))
    i, j = np.divmod(i_j, len(rows_b))
    return rows_a[i, group], rows_b[j, group]


def _resolve(
    chain: np.ndarray, frame: np.ndarray, scores: np.ndarray, last: np.ndarray, new: np.ndarray
) -> np.ndarray:
    """Tube of every row, named by the tube's first row.

    A pair can link as long as its tube still ends at the earlier row and the later row is still
    a separate tube.
    """
    if last.size == 0:
        return np.arange(len(frame))
    order = stable_argsort(last)
    order = order[stable_argsort((frame[new] * (chain.max() + 1) + chain[new])[order])]
    last, new = last[order], new[order]
    steps = group_starts(frame[new]).tolist()
    # a pair whose rows are in no other pair always links, for any scores
    single = (np.bincount(last)[last] == 1) & (np.bincount(new)[new] == 1)
    tube = np.arange(len(frame))
    tail = np.arange(len(frame))  # last row of the tube, at the tube's first row
    total = scores.astype(np.float64)  # sum of the tube's scores, likewise
    length = np.ones(len(frame), np.int64)

    def extend(t: np.ndarray, row: np.ndarray) -> None:
        tube[row] = t
        tail[t] = row
        total[t] += scores[row]
        length[t] += 1

    for begin, end in pairwise(steps):
        p, q = last[begin:end], new[begin:end]
        alone = single[begin:end]
        extend(tube[p[alone]], q[alone])
        p, q = p[~alone], q[~alone]
        if p.size == 0:
            continue
        t = tube[p]
        mean = (total[t] / length[t]).astype(np.float32)
        rank = np.argsort(_chain_then_descending(chain[q], mean), kind='stable')
        p, q, t = p[rank], q[rank], t[rank]
        group = chain[q]
        while t.size:
            possible = (tail[t] == p) & (tube[q] == q)
            p, q, t, group = p[possible], q[possible], t[possible], group[possible]
            # the best tube of a chain takes its best box: rows ascend with descending score
            first = group_starts(group)[:-1]
            extend(t[first], q[first])
    return tube


def _chain_then_descending(chain: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(P,) int64 sort key: chain first, then float32 mean from the highest."""
    bits = mean.view(np.int32).astype(np.int64)
    ascending = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # order of the floats
    return (chain << 33) - ascending


def build_tubes(dets: Detections, protocol: Protocol) -> TubeSet:
    """Link the boxes kept per frame and class, score the tubes and drop the weak and short ones.

    Args:
        dets: Sorted by label, video, frame and descending score.
        protocol: ``link_iou``, ``max_gap``, ``min_score`` and ``min_length`` are used.

    Returns:
        Tubes with one row per frame, gaps filled linearly **[derived]**.
    """
    same = (dets.video[1:] == dets.video[:-1]) & (dets.label[1:] == dets.label[:-1])
    chain = np.concatenate(([0], np.cumsum(~same))) if len(dets) else dets.video
    order, offsets = link_boxes(chain, dets.frame, dets.boxes, dets.score, protocol)
    return keep_tubes(dets, order, offsets, protocol)


def keep_tubes(
    dets: Detections, order: np.ndarray, offsets: np.ndarray, protocol: Protocol
) -> TubeSet:
    """Tubes of at least ``min_score`` and ``min_length``.

    Args:
        dets: N boxes.
        order: Rows of ``dets`` by tube, then frame.
        offsets: (T + 1,): tube t is ``order[offsets[t]:offsets[t + 1]]``.
        protocol: ``min_score`` and ``min_length`` are used.
    """
    frame, scores = dets.frame, dets.score
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
        dets.video[first].astype(np.int64),
        dets.label[first].astype(np.int64),
        mean[keep],
        offsets,
        frame[order].astype(np.int64),
        dets.boxes[order],
        scores[order],
        interpolate=True,
    )
