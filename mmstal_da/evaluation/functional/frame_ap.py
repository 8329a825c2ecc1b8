"""Frame detections: suppression and frame-AP."""

import numpy as np

from .ap import average_precision
from .detections import Detections
from .ground_truth import GroundTruth
from .iou import paired_iou
from .matching import greedy_match
from .nms import suppression_weights
from .protocol import Protocol
from .ranking import descending, descending_in_groups
from .segments import chunks, expand_products, group_starts

CHUNK = 1 << 19  # detection and ground-truth pairs compared together


def frame_key(label: np.ndarray, video: np.ndarray, frame: np.ndarray, gt: GroundTruth):
    """(N,) int64 number of the frame of a video and class; ordered by class, video, frame."""
    start = np.concatenate(([0], np.cumsum(gt.num_frames)))
    return label.astype(np.int64) * start[-1] + start[video] + frame - 1


def annotated_frames(gt: GroundTruth, dets: Detections) -> np.ndarray:
    """(N,) bool, whether a detection's frame has ground truth of any class."""
    video, _, frame, _ = gt.rows()
    zero = np.zeros(1, np.int64)
    annotated = np.zeros(int(gt.num_frames.sum()), bool)
    annotated[frame_key(zero, video, frame, gt)] = True
    return annotated[frame_key(zero, dets.video, dets.frame, gt)]


def count_frames(gt: GroundTruth, background_frames: bool) -> int:
    """Frames evaluated: all of every video, or those with ground truth."""
    if background_frames:
        return int(gt.num_frames.sum())
    video, _, frame, _ = gt.rows()
    return int(np.unique(frame_key(np.zeros(1, np.int64), video, frame, gt)).size)


def sort_detections(dets: Detections, gt: GroundTruth) -> tuple[Detections, np.ndarray]:
    """Detections by class, video and frame (input order within), and the offsets of the groups."""
    key = frame_key(dets.label, dets.video, dets.frame, gt)
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind='stable')
        dets, key = dets.take(order), key[order]
    return dets, group_starts(key)


def suppress_frames(
    dets: Detections, offsets: np.ndarray, protocol: Protocol
) -> tuple[Detections, np.ndarray]:
    """NMS per frame and class.

    Args:
        dets: Sorted by :func:`sort_detections`.
        offsets: Its groups.
        protocol: ``nms``, ``nms_iou`` and ``pixel`` are used.

    Returns:
        The detections in the same order, with new scores (soft) or without the suppressed
        ones (hard), and their groups.
    """
    order = descending_in_groups(dets.score, offsets, protocol.ties)
    weights = np.empty(len(dets), np.float32)
    weights[order] = suppression_weights(
        dets.boxes[order], offsets, protocol.nms_iou, protocol.pixel
    )
    if protocol.nms == 'soft':
        score = dets.score * weights
        return Detections(dets.video, dets.frame, dets.label, score, dets.boxes), offsets
    kept = weights == 1
    number = np.concatenate(([0], np.cumsum(kept)))
    return dets.take(kept), number[offsets]


def frame_pairs(
    dets: Detections, offsets: np.ndarray, gt: GroundTruth, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections and ground-truth boxes of the same frame and class that overlap enough.

    Returns:
        (P,) rows of ``dets``, (P,) rows of ``gt.rows()`` and (P,) float32 IoU, at least
        ``frame_iou``.
    """
    video, label, frame, boxes = gt.rows()
    key = frame_key(label, video, frame, gt)
    gt_order = np.argsort(key, kind='stable')
    gt_offsets = group_starts(key[gt_order])
    gt_key = key[gt_order][gt_offsets[:-1]]
    first = offsets[:-1]
    det_key = frame_key(dets.label[first], dets.video[first], dets.frame[first], gt)
    _, d, g = np.intersect1d(det_key, gt_key, assume_unique=True, return_indices=True)
    det_count, gt_count = np.diff(offsets)[d], np.diff(gt_offsets)[g]
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for part in chunks(det_count * gt_count, CHUNK):
        det, row = expand_products(
            offsets[d[part]], det_count[part], gt_offsets[g[part]], gt_count[part]
        )
        row = gt_order[row]
        iou = paired_iou(dets.boxes[det], boxes[row], protocol.pixel)
        enough = iou >= np.float32(protocol.frame_iou)
        found.append((det[enough], row[enough], iou[enough]))
    det, row, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    return det, row, iou


def class_slices(label: np.ndarray, num_labels: int) -> list[slice]:
    """Rows of every class in arrays sorted by class."""
    edges = np.searchsorted(label, np.arange(num_labels + 1))
    return [slice(edges[i], edges[i + 1]) for i in range(num_labels)]


def rank_detections(dets: Detections, num_labels: int, ties: str) -> np.ndarray:
    """Order of the rows by class, then descending score."""
    slices = class_slices(dets.label, num_labels)
    return np.concatenate([rows.start + descending(dets.score[rows], ties) for rows in slices])


def true_positives(
    dets: Detections, offsets: np.ndarray, order: np.ndarray, gt: GroundTruth, protocol: Protocol
) -> np.ndarray:
    """(N,) bool, whether a detection is matched to a ground-truth box of its frame and class.

    Args:
        dets: After :func:`suppress_frames`.
        offsets: Its groups.
        order: From :func:`rank_detections`.
        gt: Ground truth.
        protocol: ``frame_iou`` and ``pixel`` are used.
    """
    det, row, iou = frame_pairs(dets, offsets, gt, protocol)
    group = np.searchsorted(offsets, det, side='right')
    rank = np.empty(len(dets), np.int64)
    rank[order] = np.arange(len(dets))
    matched = np.zeros(len(dets), bool)
    matched[greedy_match(group, rank[det], det, row, iou)] = True
    return matched


def frame_average_precision(
    dets: Detections, offsets: np.ndarray, gt: GroundTruth, protocol: Protocol
) -> list[float]:
    """Frame-AP per class in [0, 1], NaN for classes without ground truth.

    Args:
        dets: After :func:`suppress_frames`.
        offsets: Its groups.
        gt: Ground truth.
        protocol: ``frame_iou``, ``pixel``, ``ap`` and ``ties`` are used.
    """
    num_labels = len(gt.labels)
    order = rank_detections(dets, num_labels, protocol.ties)
    matched = true_positives(dets, offsets, order, gt, protocol)[order]
    num_gt = np.bincount(gt.rows()[1], minlength=num_labels)
    return [
        average_precision(matched[rows], int(num_gt[label]), protocol.ap)
        for label, rows in enumerate(class_slices(dets.label, num_labels))
    ]
