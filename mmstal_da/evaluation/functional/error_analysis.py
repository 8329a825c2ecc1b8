"""Sorts false positives by kind, as in ACT's ``frameAP_error``.

Every false positive of a class is one of

- localisation: its frame has ground truth of the class (too little overlap, or a duplicate);
- classification: its frame has none, but it overlaps ground truth of another class enough;
- time: neither, but the class occurs elsewhere in the video (only in frames without ground truth);
- other: anything else.

The share of a kind is the area under (false positives of the kind / detections) over recall, the
trapezoid counterpart of AP. ``missed`` is ground truth that no detection found. The six shares of
a class add up to 100.
"""

from typing import TypedDict

import numpy as np

from .detections import Detections
from .frame_ap import (
    FramePairs,
    evaluated_detections,
    frame_blocks,
    pair_any_class,
    select_class,
    true_positives,
)
from .ground_truth import GroundTruth
from .protocol import Protocol, get_protocol
from .segments import slices_by_value

KINDS = ('localisation', 'classification', 'time', 'other')


class ErrorShares(TypedDict):
    """What :func:`analyse_errors` returns: shares in percent, by class and on average."""

    classes: dict[str, dict[str, float] | None]
    mean: dict[str, float]


def error_kinds(dets: Detections, gt: GroundTruth, protocol: Protocol) -> np.ndarray:
    """(N,) int8, index into ``KINDS``: the kind of each detection if it is a false positive.

    Args:
        dets: After suppression.
        gt: Ground truth.
        protocol: ``frame_iou`` and ``pixel`` are used.
    """
    num_labels = len(gt.labels)
    video, label, frame, _ = gt.rows()
    in_video = np.zeros((len(gt.videos), num_labels), bool)
    in_video[gt.tubes.video, gt.tubes.label] = True
    annotated = gt.annotated_frames()
    number = gt.frame_number(dets.video, dets.frame)
    kind = np.full(len(dets), KINDS.index('other'), np.int8)
    # ACT counts a frame with ground truth of another class as 'other', never as 'time'
    late = in_video[dets.video, dets.label] & ~annotated[number]
    kind[late] = KINDS.index('time')

    kind[pair_any_class(dets, gt, protocol)[0]] = KINDS.index('classification')
    # a frame with ground truth of the class: other overlaps do not matter
    own = np.unique(gt.frame_number(video, frame, label))
    key = gt.frame_number(dets.video, dets.frame, dets.label)
    kind[np.isin(key, own)] = KINDS.index('localisation')
    return kind


def error_shares(is_true: np.ndarray, kind: np.ndarray, num_gt: int) -> dict[str, float]:
    """Shares of one class, in percent.

    Args:
        is_true: (N,) bool, detections by descending score.
        kind: (N,) index into ``KINDS``.
        num_gt: Number of ground-truth boxes, at least 1.

    Returns:
        ``ap`` (trapezoid), the shares of ``KINDS``, and ``missed``.
    """
    recall = np.concatenate(([0.0], np.cumsum(is_true) / num_gt))
    step = np.diff(recall)
    place = np.arange(1, len(is_true) + 1)

    def area(flags: np.ndarray, start: float) -> float:
        rate = np.concatenate(([start], np.cumsum(flags) / place))
        return float(100 * np.sum(step * (rate[1:] + rate[:-1]) * 0.5))

    shares = {'ap': area(is_true, 1.0)}
    for number, name in enumerate(KINDS):
        shares[name] = area(~is_true & (kind == number), 0.0)
    shares['missed'] = float(100 * (1 - recall[-1]))
    return shares


def analyse_errors(
    dets: Detections,
    gt: GroundTruth,
    protocol: Protocol | None = None,
    background_frames: bool = True,
) -> ErrorShares:
    """Shares of the kinds of error in the frame-AP of every class.

    Args:
        dets: Raw detections, as for :func:`~.evaluate.evaluate_detections`.
        gt: Ground truth.
        protocol: Default ``'act'``. AP here is always the trapezoid area, for any ``ap``.
        background_frames: As for :func:`~.evaluate.evaluate_detections`.

    Returns:
        ``classes`` {name: shares in percent, or None without ground truth} and ``mean``, the
        mean over the classes with ground truth. Shares have the keys ``ap``, ``localisation``,
        ``classification``, ``time``, ``other`` and ``missed``.
    """
    protocol = protocol or get_protocol('act')
    num_labels = len(gt.labels)
    pairs: list[FramePairs] = []
    kinds = []
    dets = evaluated_detections(dets, gt, background_frames)
    for block, _, found in frame_blocks(dets, gt, protocol):
        pairs.append(found)
        kinds.append(error_kinds(block, gt, protocol))
    rows = [slices_by_value(block.label, num_labels) for block in pairs]
    num_gt = np.bincount(gt.rows()[1], minlength=num_labels)
    classes: dict[str, dict[str, float] | None] = {}
    for label, name in enumerate(gt.labels):
        if num_gt[label] == 0:
            classes[name] = None
            continue
        parts = [part[label] for part in rows]
        score, found = select_class(pairs, parts)
        order, matched = true_positives(score, found, protocol.ties, protocol.match)
        kind = np.concatenate([k[part] for k, part in zip(kinds, parts, strict=True)])
        classes[name] = error_shares(matched, kind[order], int(num_gt[label]))
    known = [shares for shares in classes.values() if shares is not None]
    mean = {key: float(np.mean([shares[key] for shares in known])) for key in known[0]}
    return {'classes': classes, 'mean': mean}
