"""Frame detections: suppression and frame-AP."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .ap import Ranking, average_precision
from .detections import Detections
from .ground_truth import GroundTruth
from .iou import paired_iou
from .matching import best_match, greedy_match
from .nms import suppression_weights
from .protocol import Protocol
from .ranking import descending
from .segments import (
    chunks,
    expand_products,
    expand_ranges,
    find_keys,
    group_starts,
    slices_by_value,
    stable_argsort,
)

BLOCK = 1 << 20  # detections whose frames are processed together
CHUNK = 1 << 17  # detection and ground-truth pairs compared together


@dataclass
class FramePairs:
    """Detections of some frames, and those of them that overlap ground truth enough.

    Attributes:
        label: (N,) int32, sorted.
        score: (N,) float32, after suppression.
        det: (P,) row of the detection in each pair, not decreasing.
        gt: (P,) row of :meth:`~.ground_truth.GroundTruth.rows`, of the same frame and class.
        iou: (P,) float32, at least ``frame_iou``.
        frame: (P,) int64, number of the frame.
    """

    label: np.ndarray
    score: np.ndarray
    det: np.ndarray
    gt: np.ndarray
    iou: np.ndarray
    frame: np.ndarray


def sort_detections(dets: Detections, gt: GroundTruth) -> tuple[Detections, np.ndarray]:
    """Detections by class, video and frame (input order within), and the offsets of the groups."""
    key = gt.frame_number(dets.video, dets.frame, dets.label)
    order = stable_argsort(key)
    return dets.take(order), group_starts(key[order])


def suppress_frames(
    dets: Detections, offsets: np.ndarray, protocol: Protocol
) -> tuple[Detections, np.ndarray]:
    """NMS per frame and class.

    Args:
        dets: Sorted by :func:`sort_detections`.
        offsets: Its groups.
        protocol: ``nms``, ``nms_iou``, ``pixel`` and ``ties`` are used.

    Returns:
        The detections in the same order, with new scores (soft), without the suppressed ones
        (hard) or unchanged (none), and their groups.
    """
    if protocol.nms == 'none':
        return dets, offsets
    weights = suppression_weights(
        dets.boxes, dets.score, offsets, protocol.nms_iou, protocol.pixel, protocol.ties
    )
    if protocol.nms == 'soft':
        score = dets.score * weights
        return Detections(dets.video, dets.frame, dets.label, score, dets.boxes), offsets
    kept = weights == 1
    number = np.concatenate(([0], np.cumsum(kept)))
    return dets.take(np.flatnonzero(kept)), number[offsets]


def pair_frames(
    dets: Detections, offsets: np.ndarray, gt: GroundTruth, protocol: Protocol
) -> FramePairs:
    """Find the detections and ground-truth boxes of a frame and class that overlap enough.

    Args:
        dets: After :func:`suppress_frames`.
        offsets: Its groups.
        gt: Ground truth.
        protocol: ``frame_iou`` and ``pixel`` are used.
    """
    video, label, frame, boxes = gt.rows()
    key = gt.frame_number(video, frame, label)
    gt_order = stable_argsort(key)
    gt_offsets = group_starts(key[gt_order])
    first = offsets[:-1]
    det_key = gt.frame_number(dets.video[first], dets.frame[first], dets.label[first])
    g, d = find_keys(det_key, key[gt_order][gt_offsets[:-1]])
    det_count, gt_count = np.diff(offsets)[d], np.diff(gt_offsets)[g]
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for part in chunks(det_count * gt_count, CHUNK):
        det, row = expand_products(
            offsets[d[part]], det_count[part], gt_offsets[g[part]], gt_count[part]
        )
        row = gt_order[row]
        iou = paired_iou(dets.boxes.take(det, axis=0), boxes.take(row, axis=0), protocol.pixel)
        enough = iou >= np.float32(protocol.frame_iou)
        found.append((det[enough], row[enough], iou[enough]))
    det, row, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    number = gt.frame_number(dets.video[det], dets.frame[det])
    return FramePairs(dets.label, dets.score, det, row, iou, number)


def pair_any_class(
    dets: Detections, gt: GroundTruth, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections and ground-truth boxes of a frame that overlap enough, whatever their classes.

    Args:
        dets: In any order.
        gt: Ground truth.
        protocol: ``frame_iou`` and ``pixel`` are used.

    Returns:
        (P,) detections, not decreasing, (P,) rows of :meth:`~.ground_truth.GroundTruth.rows`, and
        (P,) float32 IoU, at least ``frame_iou``.
    """
    video, _, frame, boxes = gt.rows()
    gt_number = gt.frame_number(video, frame)
    order = stable_argsort(gt_number)
    first = np.searchsorted(gt_number[order], np.arange(int(gt.num_frames.sum()) + 1))
    number = gt.frame_number(dets.video, dets.frame)
    count = np.diff(first)[number]
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for part in chunks(count, CHUNK):
        det = np.repeat(np.arange(part.start, part.stop), count[part])
        row = order[expand_ranges(first[number[part]], count[part])]
        iou = paired_iou(dets.boxes.take(det, axis=0), boxes.take(row, axis=0), protocol.pixel)
        enough = iou >= np.float32(protocol.frame_iou)
        found.append((det[enough], row[enough], iou[enough]))
    det, row, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    return det, row, iou


def video_blocks(dets: Detections, num_videos: int, limit: int) -> Iterator[Detections]:
    """Detections of consecutive videos, at most ``limit`` (or one video) at a time."""
    order = stable_argsort(dets.video)
    edges = np.searchsorted(dets.video.take(order), np.arange(num_videos + 1))
    for part in chunks(np.diff(edges), limit):
        yield dets.take(order[edges[part.start] : edges[part.stop]])


def evaluated_detections(dets: Detections, gt: GroundTruth, background_frames: bool) -> Detections:
    """All detections, or those on frames with ground truth of any class."""
    if background_frames:
        return dets
    annotated = gt.annotated_frames()[gt.frame_number(dets.video, dets.frame)]
    return dets.take(np.flatnonzero(annotated))


def frame_blocks(
    dets: Detections, gt: GroundTruth, protocol: Protocol
) -> Iterator[tuple[Detections, np.ndarray, FramePairs]]:
    """Suppressed detections, their frames and their overlap with ground truth, block by block.

    Args:
        dets: Raw detections.
        gt: Ground truth.
        protocol: The constants of frame detections.

    Yields:
        Detections of some videos after :func:`suppress_frames`, its groups, and
        :func:`pair_frames` of both.
    """
    for block in video_blocks(dets, len(gt.videos), BLOCK):
        block, offsets = suppress_frames(*sort_detections(block, gt), protocol)
        yield block, offsets, pair_frames(block, offsets, gt, protocol)


def true_positives(
    score: np.ndarray, pairs: FramePairs, ties: str, match: str = 'free'
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of one class are matched to ground truth.

    Args:
        score: (N,) float32 of the class's detections.
        pairs: Their pairs; ``det`` counts within ``score``.
        ties: See :mod:`~.ranking`.
        match: See :class:`~.protocol.Protocol`.

    Returns:
        (N,) order by descending score, and (N,) bool in that order.
    """
    order = descending(score, ties)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    place = rank.take(pairs.det)
    matched = np.zeros(len(order), bool)
    if match == 'best':
        matched[best_match(pairs.det, place, pairs.gt, pairs.iou)] = True
    else:
        matched[greedy_match(pairs.frame, place, pairs.gt, pairs.iou)] = True
    return order, matched


def select_class(blocks: list[FramePairs], rows: list[slice]) -> tuple[np.ndarray, FramePairs]:
    """Scores and pairs of one class, whose rows in block b are ``rows[b]``."""
    scores, parts = [], []
    begin = 0
    for block, part in zip(blocks, rows, strict=True):
        inside = slice(*np.searchsorted(block.det, (part.start, part.stop)).tolist())
        det = block.det[inside] + (begin - part.start)
        parts.append((det, block.gt[inside], block.iou[inside], block.frame[inside]))
        scores.append(block.score[part])
        begin += part.stop - part.start
    score = np.concatenate(scores)
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return score, FramePairs(np.zeros(0, np.int32), score, *columns)


def rank_frames(blocks: list[FramePairs], gt: GroundTruth, protocol: Protocol) -> list[Ranking]:
    """Frame detections of every class by score, matched to ground truth.

    Args:
        blocks: From :func:`pair_frames`, together all videos, in their order.
        gt: Ground truth.
        protocol: ``match`` and ``ties`` are used.
    """
    num_labels = len(gt.labels)
    num_gt = np.bincount(gt.rows()[1], minlength=num_labels)
    rows = [slices_by_value(block.label, num_labels) for block in blocks]
    result = []
    for label in range(num_labels):
        score, pairs = select_class(blocks, [part[label] for part in rows])
        order, matched = true_positives(score, pairs, protocol.ties, protocol.match)
        result.append(Ranking(score[order], matched, int(num_gt[label])))
    return result


def frame_average_precision(
    blocks: list[FramePairs], gt: GroundTruth, protocol: Protocol
) -> list[float]:
    """Frame-AP per class in [0, 1], NaN for classes without ground truth.

    Args:
        blocks: From :func:`pair_frames`, together all videos, in their order.
        gt: Ground truth.
        protocol: ``ap``, ``match`` and ``ties`` are used.
    """
    return [
        average_precision(ranking.is_true, ranking.num_gt, protocol.ap)
        for ranking in rank_frames(blocks, gt, protocol)
    ]
