"""Tubes: suppression and video-AP."""

import numpy as np

from .ap import Ranking, average_precision
from .ground_truth import GroundTruth
from .matching import greedy_match
from .nms import suppress_pairs
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
from .tubes import TubeSet, temporal_iou, tube_iou

CHUNK = 1 << 20  # tube pairs compared together


def rank_tubes(tubes: TubeSet) -> TubeSet:
    """Tubes by class, video and descending score (of equal scores the earlier tube first)."""
    return tubes.take(np.lexsort((-tubes.score, tubes.video, tubes.label)))


def suppress_tubes(tubes: TubeSet, protocol: Protocol) -> TubeSet:
    """Hard NMS of the tubes of a video and class.

    Args:
        tubes: Sorted by :func:`rank_tubes`.
        protocol: ``tube_nms_iou`` and ``pixel`` are used.
    """
    if len(tubes) == 0:
        return tubes
    offsets = group_starts(tubes.label * (tubes.video.max() + 1) + tubes.video)
    number = np.arange(len(tubes))
    count = np.repeat(offsets[1:], np.diff(offsets)) - number - 1  # worse tubes of the group
    winners, losers = [], []
    for part in chunks(count, CHUNK):
        better = np.repeat(number[part], count[part])
        worse = expand_ranges(number[part] + 1, count[part])
        # the temporal IoU bounds the tube IoU from above
        possible = temporal_iou(tubes, tubes, better, worse) > np.float32(protocol.tube_nms_iou)
        better, worse = better[possible], worse[possible]
        iou = tube_iou(tubes, tubes, better, worse, protocol.pixel)
        overlaps = iou > np.float32(protocol.tube_nms_iou)
        winners.append(better[overlaps])
        losers.append(worse[overlaps])
    return tubes.take(suppress_pairs(np.concatenate(winners), np.concatenate(losers), len(tubes)))


def tube_pairs(
    tubes: TubeSet, gt: GroundTruth, lowest: float, pixel: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tubes and ground-truth tubes of the same video and class with IoU of at least ``lowest``.

    Args:
        tubes: Sorted by class and video.
        gt: Ground truth.
        lowest: Smallest IoU of a pair.
        pixel: See :func:`~.iou.paired_iou`.

    Returns:
        (P,) tubes, (P,) ground-truth tubes, (P,) float32 IoU.
    """
    num_videos = len(gt.videos)
    gt_key = gt.tubes.label * num_videos + gt.tubes.video
    gt_order = stable_argsort(gt_key)
    key = tubes.label * num_videos + tubes.video
    offsets, gt_offsets = group_starts(key), group_starts(gt_key[gt_order])
    g, d = find_keys(key[offsets[:-1]], gt_key[gt_order][gt_offsets[:-1]])
    det, row = expand_products(
        offsets[d], np.diff(offsets)[d], gt_offsets[g], np.diff(gt_offsets)[g]
    )
    row = gt_order[row]
    possible = temporal_iou(tubes, gt.tubes, det, row) >= np.float32(lowest)
    det, row = det[possible], row[possible]
    iou = tube_iou(tubes, gt.tubes, det, row, pixel)
    enough = iou >= np.float32(lowest)
    return det[enough], row[enough], iou[enough]


def match_tubes(
    tubes: TubeSet, gt: GroundTruth, thresholds: list[float], protocol: Protocol
) -> dict[float, list[Ranking]]:
    """Tubes of every class by score, matched to ground truth, for each threshold.

    Args:
        tubes: After :func:`suppress_tubes`.
        gt: Ground truth.
        thresholds: Tube IoU of a true positive.
        protocol: ``pixel`` and ``ties`` are used.
    """
    num_labels = len(gt.labels)
    num_gt = np.bincount(gt.tubes.label, minlength=num_labels)
    det, row, iou = tube_pairs(tubes, gt, min(thresholds), protocol.pixel)
    group = tubes.label[det] * len(gt.videos) + tubes.video[det]
    slices = slices_by_value(tubes.label, num_labels)
    order = np.concatenate([s.start + descending(tubes.score[s], protocol.ties) for s in slices])
    rank = np.empty(len(tubes), np.int64)
    rank[order] = np.arange(len(tubes))
    score = tubes.score[order]
    result = {}
    for threshold in thresholds:
        enough = iou >= np.float32(threshold)
        matched = np.zeros(len(tubes), bool)  # by rank
        found = greedy_match(group[enough], rank[det[enough]], row[enough], iou[enough])
        matched[found] = True
        result[threshold] = [
            Ranking(score[rows], matched[rows], int(num_gt[label]))
            for label, rows in enumerate(slices)
        ]
    return result


def video_average_precision(
    tubes: TubeSet, gt: GroundTruth, thresholds: list[float], protocol: Protocol
) -> dict[float, list[float]]:
    """Video-AP per threshold and class in [0, 1], NaN for classes without ground truth.

    Args:
        tubes: After :func:`suppress_tubes`.
        gt: Ground truth.
        thresholds: Tube IoU of a true positive.
        protocol: ``pixel``, ``ties`` and ``ap`` are used.
    """
    return {
        threshold: [average_precision(r.is_true, r.num_gt, protocol.ap) for r in rankings]
        for threshold, rankings in match_tubes(tubes, gt, thresholds, protocol).items()
    }
