"""Computes frame-mAP and video-mAP from detections and ground truth."""

import time
from typing import Any

import numpy as np

from .ap import mean_over_classes
from .detections import Detections
from .frame_ap import (
    evaluated_detections,
    frame_average_precision,
    frame_blocks,
    suppress_frames,
)
from .ground_truth import GroundTruth
from .linking import build_tubes
from .protocol import Protocol, get_protocol
from .ranking import descending_in_groups
from .segments import expand_ranges, group_starts, stable_argsort
from .trimming import trim_tubes
from .tubes import TubeSet
from .video_ap import rank_tubes, suppress_tubes, video_average_precision


def link_detections(dets: Detections, offsets: np.ndarray, protocol: Protocol) -> TubeSet:
    """Tubes of all videos and classes, before tube NMS.

    Args:
        dets: After :func:`~.frame_ap.suppress_frames`.
        offsets: Its groups.
        protocol: The constants of linking and trimming.
    """
    order = descending_in_groups(dets.score, offsets, protocol.ties)
    count = np.diff(offsets)
    order = order.take(expand_ranges(offsets[:-1], np.minimum(count, protocol.keep_per_frame)))
    kept = dets.take(order)
    return trim_tubes(build_tubes(kept, protocol), protocol)


def suppressed_frames(dets: Detections, protocol: Protocol) -> tuple[Detections, np.ndarray]:
    """Detections in any order by class, video and frame, after NMS, and the groups' offsets."""
    groups = np.column_stack((dets.label, dets.video, dets.frame))
    key = np.unique(groups, axis=0, return_inverse=True)[1].ravel()
    order = stable_argsort(key)
    return suppress_frames(dets.take(order), group_starts(key[order]), protocol)


def tubes_of(dets: Detections, protocol: Protocol | None = None) -> TubeSet:
    """Tubes of all videos and classes, as in the evaluation, but without ground truth.

    Args:
        dets: Raw detections in any order.
        protocol: NMS per frame and class, online linking, trimming; default ``'act'``.

    Returns:
        Tubes with the video indices and labels of ``dets``, before tube NMS.
    """
    protocol = protocol or get_protocol('act')
    return link_detections(*suppressed_frames(dets, protocol), protocol)


def evaluate_frames(
    dets: Detections, gt: GroundTruth, protocol: Protocol, background_frames: bool = False
) -> dict[str, Any]:
    """Frame-mAP and per-class frame-AP alone, without linking.

    Args:
        dets: Raw detections of every frame.
        gt: Ground truth.
        protocol: E.g. ``get_protocol('ava')``.
        background_frames: As :func:`evaluate_detections`.

    Returns:
        In percent: ``frame_mAP@<iou>`` and ``frame_AP@<iou>`` (list by class).
    """
    dets = evaluated_detections(dets, gt, background_frames)
    pairs = [found for _, _, found in frame_blocks(dets, gt, protocol)]
    return _frame_result(frame_average_precision(pairs, gt, protocol), protocol)


def _frame_result(frame_ap: list[float], protocol: Protocol) -> dict[str, Any]:
    iou = f'{protocol.frame_iou:g}'
    return {
        f'frame_mAP@{iou}': percent(mean_over_classes(frame_ap)),
        f'frame_AP@{iou}': [percent(value) for value in frame_ap],
    }


def evaluate_detections(
    dets: Detections,
    gt: GroundTruth,
    protocol: Protocol | None = None,
    background_frames: bool = True,
) -> dict[str, Any]:
    """Frame-mAP, video-mAP and per-class AP of a set of detections.

    Args:
        dets: Raw detections of every frame (:func:`~.detections.parse_detections`).
        gt: Ground truth (:func:`~.ground_truth.parse_ground_truth`).
        protocol: Default ``'act'``.
        background_frames: Evaluate every frame of a video; otherwise only frames with ground
            truth, and detections elsewhere are ignored.

    Returns:
        In percent, None without ground truth: ``frame_mAP@<iou>`` and ``frame_AP@<iou>`` (list by
        class) at the protocol's ``frame_iou``, ``video_mAP@<iou>`` for each of its
        ``video_ious``, ``video_mAP@0.5:0.95``, ``video_AP@0.5`` (list by class). Also
        ``protocol``, ``constants``, ``background_frames``, ``labels``, ``n_videos``,
        ``n_frames``, ``n_gt_tubes``, ``n_detections`` (in the evaluated frames), ``n_tubes``
        (linked tubes, before tube NMS) and ``seconds`` (``total``). What keeps perfect detections
        from 100: ``n_gt_tubes_too_short`` (ground-truth tubes of fewer frames than
        ``min_length``) and ``n_gt_tubes_twice`` (those that repeat another one, see
        :mod:`mmstal_da.tubes.duplicates`).
    """
    protocol = protocol or get_protocol('act')
    start = time.perf_counter()
    dets = evaluated_detections(dets, gt, background_frames)
    pairs, tubes = [], []
    for block, offsets, found in frame_blocks(dets, gt, protocol):
        pairs.append(found)
        tubes.append(link_detections(block, offsets, protocol))
    frame_ap = frame_average_precision(pairs, gt, protocol)
    linked = TubeSet.concatenate(tubes)
    steps = protocol.video_iou_steps
    thresholds = sorted({*protocol.video_ious, *steps, 0.5})
    kept = suppress_tubes(rank_tubes(linked), protocol)
    video_ap = video_average_precision(kept, gt, thresholds, protocol)
    seconds = {'total': time.perf_counter() - start}

    result = _frame_result(frame_ap, protocol)
    for iou in protocol.video_ious:
        result[f'video_mAP@{iou:g}'] = percent(mean_over_classes(video_ap[iou]))
    average = [mean_over_classes(video_ap[iou]) for iou in steps]
    result['video_mAP@0.5:0.95'] = percent(float(np.mean(average)))
    result['video_AP@0.5'] = [percent(value) for value in video_ap[0.5]]
    result.update(
        protocol=protocol.name,
        constants=protocol.as_dict(),
        background_frames=background_frames,
        labels=gt.labels,
        n_videos=len(gt.videos),
        n_frames=int(gt.num_frames.sum() if background_frames else gt.annotated_frames().sum()),
        n_gt_tubes=len(gt.tubes),
        n_gt_tubes_too_short=int((gt.tubes.end - gt.tubes.begin + 1 < protocol.min_length).sum()),
        n_gt_tubes_twice=gt.count_repeated(),
        n_detections=len(dets),
        n_tubes=len(linked),
        seconds=seconds,
    )
    return result


def percent(value: float) -> float | None:
    """A share as a percentage; None for NaN."""
    return None if np.isnan(value) else 100 * value
