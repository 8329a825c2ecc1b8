"""Scores of detections without ground truth, to choose a checkpoint for an unlabelled target.

Two look at the boxes of single frames, PCR and box stability; both are from works on images of one
class and are applied to every class of a frame here **[derived]**. The third looks along tubes and
is this project's own. Higher is better for all three. None is a mAP: they rank checkpoints of
one pair, at best.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from .detections import Detections
from .evaluate import link_detections, suppressed_frames
from .iou import box_iou, paired_iou
from .protocol import Protocol, get_protocol
from .segments import expand_ranges, group_starts, stable_argsort
from .tubes import TubeSet

# PCR's constants, those of its authors' code
CANDIDATE_SCORE = 0.05  # least score of a candidate
CANDIDATE_IOU = 0.5  # overlap above which a kept box removes a candidate
CENTRE = 0.4  # confidence in the middle of both sigmoids
CONSISTENCY_SLOPE, RELIABILITY_SLOPE = -10.0, 20.0
RELIABILITY_BASE = 0.1


def consistency_and_reliability(boxes: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """PCR of the candidates of one class in one frame, before NMS.

    NMS keeps the best candidates and removes those that overlap them.

    - Consistency: how well a kept box agrees with the smallest box around those that it removes,
      half IoU and half nearness of centres, weighted towards **low** confidence, over the number of
      kept boxes. Many near-equal candidates of low confidence are a sign of a poor detector.
    - Reliability: the confidence of what confident kept boxes remove, as a share of all removed.

    Source: Yoo et al., "Automated Model Evaluation for Object Detection via Prediction Consistency
    and Reliability", ICCV 2025 (arXiv 2508.12082), and its code (YonseiML/autoeval-det).

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,) confidences of one class.

    Returns:
        Consistency and reliability, each NaN where the frame says nothing about it: no kept box
        with removed ones, or nothing removed.
    """
    chosen = scores > CANDIDATE_SCORE
    boxes, scores = boxes[chosen].astype(float), scores[chosen].astype(float)
    order = np.argsort(-scores, kind='stable')
    overlap = box_iou(boxes, boxes, pixel=0.0) > CANDIDATE_IOU
    np.fill_diagonal(overlap, False)
    keep = np.ones(len(scores), bool)
    agreement, support, confidence = [], [], []
    for index in order:
        if not keep[index]:
            continue
        removed = overlap[index]
        agreement.append(_agreement(boxes[index], boxes[removed]) if removed.any() else 0.0)
        support.append(_rising(scores[removed]).sum())
        confidence.append(scores[index])
        keep &= ~removed
    sure = np.array(confidence)
    consistency = float(np.dot(agreement, _sigmoid(sure, CONSISTENCY_SLOPE)))
    everything = _rising(scores[~keep]).sum()
    return (
        consistency / len(sure) if consistency > 0 else float('nan'),
        float(np.array(support)[sure > CENTRE].sum() / everything) if everything else float('nan'),
    )


def _agreement(box: np.ndarray, removed: np.ndarray) -> float:
    """Half the IoU, half the nearness, of a box and the smallest box around the removed ones."""
    around = np.concatenate((removed[:, :2].min(0), removed[:, 2:].max(0)))
    centre, other = (box[:2] + box[2:]) / 2, (around[:2] + around[2:]) / 2
    reach = np.linalg.norm(box[2:] - centre) / 2
    nearness = 1 - np.linalg.norm(other - centre) / reach
    return float(0.5 * paired_iou(box, around, pixel=0.0) + 0.5 * nearness)


def _sigmoid(scores: np.ndarray, slope: float) -> np.ndarray:
    return 1 / (1 + np.exp(-slope * (scores - CENTRE)))


def _rising(scores: np.ndarray) -> np.ndarray:
    return RELIABILITY_BASE + (1 - RELIABILITY_BASE) * _sigmoid(scores, RELIABILITY_SLOPE)


def pcr(consistency: np.ndarray, reliability: np.ndarray) -> float:
    """One number from the frames' consistency and reliability, to rank by: R - C **[derived]**.

    The authors fit mAP to both on hundreds of corrupted labelled sets. Here are only checkpoints,
    so the means are subtracted, with the signs that these have in the authors' work.
    """
    known = [values[np.isfinite(values)] for values in (reliability, consistency)]
    if not all(map(len, known)):
        return float('nan')
    return float(known[0].mean() - known[1].mean())


def box_stability(
    boxes: np.ndarray, labels: np.ndarray, other_boxes: np.ndarray, other_labels: np.ndarray
) -> float:
    """Overlap of a frame's boxes with those found under dropout of the features.

    The two sets are matched one to one with the largest total IoU; boxes of different classes count
    as IoU 0 **[derived]**. The sum is divided by the size of the smaller set.

    Source: Yang et al., "Bounding Box Stability against Feature Dropout Reflects Detector
    Generalization across Environments", ICLR 2024 (arXiv 2403.13803).

    Args:
        boxes: (N, 4), without dropout.
        labels: (N,).
        other_boxes: (M, 4), with dropout.
        other_labels: (M,).

    Returns:
        In [0, 1]; NaN where one of the sets is empty, as the authors leave such images out.
    """
    if not len(boxes) or not len(other_boxes):
        return float('nan')
    iou = box_iou(boxes, other_boxes, pixel=0.0) * (labels[:, None] == other_labels)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].sum() / min(iou.shape))


def tube_steadiness(
    dets: Detections, protocol: Protocol | None = None, score_thr: float = 0.3
) -> float:
    """How steadily confident detections follow their tubes **[derived]**.

    Clips around neighbouring key frames overlap in most of their frames, so what a good detector
    says about neighbours changes little. A detection of score s on frame t of a linked tube has

        q_t = IoU(b_t, (b_{t-1} + b_{t+1}) / 2) min(1, (s_{t-1} + s_{t+1}) / 2 s_t),

    with the one neighbour at an end of the tube, and q = 0 if it is in no tube of the minimum
    length: boxes that jitter, scores that flicker and classes that change all lower it. The result
    is the mean of q over detections, weighted by s.

    Args:
        dets: Detections of neighbouring key frames, numbered without gaps.
        protocol: Of NMS and linking; default ``'act'``.
        score_thr: Less confident detections do not count.

    Returns:
        In [0, 1]; NaN without confident detections.
    """
    protocol = protocol or get_protocol('act')
    suppressed, offsets = suppressed_frames(dets, protocol)
    scores = suppressed.score.astype(float)
    mass = scores[scores >= score_thr].sum()
    if not mass:
        return float('nan')
    tubes = link_detections(suppressed, offsets, protocol)
    rows = expand_ranges(tubes.offset, tubes.end - tubes.begin + 1)
    found = tubes.box_scores[rows].astype(float)
    counts = found >= score_thr
    return float((found * row_steadiness(tubes, protocol.pixel))[counts].sum() / mass)


def row_steadiness(tubes: TubeSet, pixel: float) -> np.ndarray:
    """The q of :func:`tube_steadiness` for every frame of every tube, tube after tube.

    Args:
        tubes: T tubes without gaps.
        pixel: See :func:`~.iou.paired_iou`.

    Returns:
        (R,) in [0, 1], R being the sum of the tubes' lengths.
    """
    length = (tubes.end - tubes.begin + 1).astype(int)
    rows = expand_ranges(tubes.offset, length)
    boxes, found = tubes.boxes[rows], tubes.box_scores[rows].astype(float)
    place = np.arange(len(rows))
    first = np.repeat(np.cumsum(length) - length, length)
    last = first + np.repeat(length, length) - 1
    # at an end, the one neighbour takes the place of both
    before = np.where(place > first, place - 1, np.minimum(place + 1, last))
    after = np.where(place < last, place + 1, np.maximum(place - 1, first))
    iou = paired_iou(boxes, (boxes[before] + boxes[after]) / 2, pixel)
    near = (found[before] + found[after]) / (2 * np.maximum(found, 1e-12))
    return iou * np.minimum(1, near)


def groups_of(dets: Detections) -> Iterator[Detections]:
    """Detections of one video, frame and class after the other."""
    keys = np.column_stack((dets.video, dets.frame, dets.label))
    number = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    order = stable_argsort(number)
    for begin, end in pairwise(group_starts(number[order]).tolist()):
        yield dets.take(order[begin:end])


def offline_scores(
    dets: Detections, protocol: Protocol | None = None, score_thr: float = 0.3
) -> dict[str, float]:
    """What can be computed from a file of detections: ``tube_steadiness``, and ``pcr``.

    ``pcr`` needs candidates from before the detector's NMS. It is left out if no two boxes of a
    class overlap by more than 0.6 on any frame, as after the configs' NMS. Box stability needs the
    detector.
    """
    scores = {'tube_steadiness': tube_steadiness(dets, protocol, score_thr)}
    parts, overlapping = [], False
    for group in groups_of(dets):
        if len(group) > 1 and not overlapping:
            iou = box_iou(group.boxes, group.boxes, pixel=0.0)
            overlapping = bool((np.triu(iou, 1) > 0.61).any())
        parts.append(consistency_and_reliability(group.boxes, group.score))
    if overlapping:
        consistency, reliability = np.array(parts).T
        scores['pcr'] = pcr(consistency, reliability)
    return scores
