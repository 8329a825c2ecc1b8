"""Precision-recall curves, whose area is the average precision."""

from dataclasses import dataclass

import numpy as np

from .ap import Ranking, average_precision, precision_recall
from .detections import Detections
from .evaluate import link_detections
from .frame_ap import evaluated_detections, frame_blocks, rank_frames
from .ground_truth import GroundTruth
from .protocol import Protocol, get_protocol
from .tubes import TubeSet
from .video_ap import match_tubes, rank_tubes, suppress_tubes


@dataclass
class Curve:
    """A precision-recall curve of one class.

    Attributes:
        recall: (K,) ascending, in [0, 1].
        precision: (K,) in [0, 1]. The straight lines between the points enclose the area ``ap``.
        score: (K,) float32, the lowest score of the detections that a point counts; infinite at the
            first point, which counts none.
        ap: Average precision in [0, 1].
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray
    ap: float


def make_curve(ranking: Ranking, method: str = 'trapezoid') -> Curve | None:
    """The curve of one class; None without ground truth.

    Points on a vertical line between two others are left out. For ``'envelope'`` the curve is the
    staircase of the highest precision at each recall or beyond.

    Args:
        ranking: Matched detections.
        method: As for :func:`~.ap.average_precision`.
    """
    if ranking.num_gt == 0:
        return None
    precision, recall = precision_recall(ranking.is_true, ranking.num_gt)
    score = np.concatenate(([np.float32(np.inf)], ranking.score))
    if method == 'envelope':
        best = np.maximum.accumulate(precision[:0:-1])[::-1]  # of every step of recall
        true = np.flatnonzero(ranking.is_true)
        rises = recall[true + 1]
        recall = np.stack((np.concatenate(([0.0], rises[:-1])), rises), 1).ravel()[: 2 * len(true)]
        precision, score = np.repeat(best[true], 2), np.repeat(score[true + 1], 2)
    else:
        inner = (recall[1:-1] == recall[:-2]) & (recall[1:-1] == recall[2:])
        kept = np.concatenate(([True], ~inner, [True]))[: len(recall)]
        precision, recall, score = precision[kept], recall[kept], score[kept]
    ap = average_precision(ranking.is_true, ranking.num_gt, method)
    return Curve(recall, precision, score, ap)


def precision_recall_curves(
    dets: Detections,
    gt: GroundTruth,
    protocol: Protocol | None = None,
    background_frames: bool = True,
    video_iou: float = 0.5,
) -> dict[str, list[Curve | None]]:
    """Curves of frame detections and of linked tubes, by class.

    Args:
        dets: Raw detections, as for :func:`~.evaluate.evaluate_detections`.
        gt: Ground truth.
        protocol: Default ``'act'``. Its ``ap`` chooses the kind of curve.
        background_frames: As for :func:`~.evaluate.evaluate_detections`.
        video_iou: Tube IoU of a true positive.

    Returns:
        ``frame`` and ``video``: a curve per class, None without ground truth. Their ``ap`` are
        those of :func:`~.evaluate.evaluate_detections`.
    """
    protocol = protocol or get_protocol('act')
    pairs, tubes = [], []
    dets = evaluated_detections(dets, gt, background_frames)
    for block, offsets, found in frame_blocks(dets, gt, protocol):
        pairs.append(found)
        tubes.append(link_detections(block, offsets, protocol))
    kept = suppress_tubes(rank_tubes(TubeSet.concatenate(tubes)), protocol)
    rankings = {
        'frame': rank_frames(pairs, gt, protocol),
        'video': match_tubes(kept, gt, [video_iou], protocol)[video_iou],
    }
    return {
        level: [make_curve(ranking, protocol.ap) for ranking in of_level]
        for level, of_level in rankings.items()
    }
