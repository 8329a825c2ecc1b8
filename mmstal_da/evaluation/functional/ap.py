"""Precision, recall and average precision."""

from typing import NamedTuple

import numpy as np


class Ranking(NamedTuple):
    """Detections (or tubes) of one class by descending score, matched to ground truth.

    Attributes:
        score: (N,) float32.
        is_true: (N,) bool, whether it is a true positive.
        num_gt: Number of ground-truth objects.
    """

    score: np.ndarray
    is_true: np.ndarray
    num_gt: int


def precision_recall(is_true: np.ndarray, num_gt: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after every detection.

    Args:
        is_true: (N,) bool, detections by descending score.
        num_gt: Number of ground-truth objects, at least 1.

    Returns:
        (N + 1,) float64 precision and recall, from the point (p=1, r=0).
    """
    true = np.cumsum(is_true)
    precision = np.concatenate(([1.0], true / np.arange(1, len(is_true) + 1)))
    recall = np.concatenate(([0.0], true / num_gt))
    return precision, recall


def average_precision(is_true: np.ndarray, num_gt: int, method: str = 'trapezoid') -> float:
    """Area under the precision-recall curve, in [0, 1].

    Args:
        is_true: (N,) bool, detections by descending score.
        num_gt: Number of ground-truth objects.
        method: ``'trapezoid'``: trapezoids between the points, no envelope (ACT);
            ``'envelope'``: precision replaced by its maximum at higher recall, all points
            (PASCAL VOC 2010).

    Returns:
        The area; NaN without ground truth.
    """
    if num_gt == 0:
        return float('nan')
    precision, recall = precision_recall(is_true, num_gt)
    step = np.diff(recall)
    if method == 'trapezoid':
        return float(np.sum(step * (precision[1:] + precision[:-1]) * 0.5))
    envelope = np.maximum.accumulate(precision[:0:-1])[::-1]
    return float(np.sum(step * envelope))


def mean_over_classes(ap: list[float]) -> float:
    """Mean over the classes that have ground truth; NaN when none has."""
    values = [value for value in ap if not np.isnan(value)]
    return float(np.mean(values)) if values else float('nan')
