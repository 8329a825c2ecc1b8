"""Which boxes of a teacher are labels, and which are left out."""

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .target_losses import PseudoLabels

LEAST_SIDE = 1.0  # pixels: a narrower box has no use as a label [derived]


class PseudoThresholds(nn.Module):
    """A box with a score of at least ``high`` is a label; one between ``low`` and ``high`` is left
    out: proposals in it are neither positives nor background.

    Args:
        low, high: The thresholds.
        num_classes: Of the detector.
    """

    def __init__(self, low: float, high: float, num_classes: int) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.num_classes = num_classes

    def of_classes(self) -> Tensor | None:
        """``(C,)`` least scores of labels; None if all classes have the same."""
        return None

    def update(self, predictions: list[InstanceData]) -> None:
        """Learn from a batch of predictions; here nothing."""

    def split(self, predictions: list[InstanceData]) -> PseudoLabels:
        """Split the boxes of every clip into labels and boxes to leave out.

        Args:
            predictions: Per clip ``bboxes`` (n, 4) in input pixels, ``scores`` (n,), ``labels``
                (n,).
        """
        high = self.of_classes()
        found = []
        for boxes in predictions:
            x1, y1, x2, y2 = boxes.bboxes.unbind(-1)
            wide = (x2 - x1 >= LEAST_SIDE) & (y2 - y1 >= LEAST_SIDE)
            least = self.high if high is None else high.to(boxes.scores.device)[boxes.labels]
            sure = boxes.scores >= least
            unsure = (boxes.scores >= self.low) & ~sure
            found.append((boxes[wide & sure], boxes[wide & unsure]))
        return found


class AdaptiveThresholds(PseudoThresholds):
    """A high threshold per class: the self-adaptive ones of FreeMatch (Wang et al., ICLR 2023).

    With running means ``t`` of all scores and ``p(c)`` of those of a class, the threshold is
    ``p(c) / max p * t``. A class that the teacher is unsure of gets a lower one. FreeMatch averages
    over images, every class of each. Here the means are over the teacher's boxes with at least the
    low score, each for its own class, and a class without boxes keeps its mean **[derived]**.
    Thresholds are never below the low one.

    State: the buffers ``mean`` (t), ``class_means`` (p), which begin with ``high``. All processes
    have the same.

    Args:
        low: Least score of a box that counts.
        high: Threshold at the beginning.
        num_classes: Of the detector.
        momentum: Of the running means: the share of the past.
    """

    mean: Tensor
    class_means: Tensor

    def __init__(self, low: float, high: float, num_classes: int, momentum: float) -> None:
        super().__init__(low, high, num_classes)
        self.momentum = momentum
        self.register_buffer('mean', torch.tensor(float(high)))
        self.register_buffer('class_means', torch.full((num_classes,), float(high)))

    def of_classes(self) -> Tensor:
        """``(C,)`` least scores of labels."""
        means = self.class_means
        return (means / means.max().clamp(min=1e-6) * self.mean).clamp(min=self.low)

    @torch.no_grad()
    def update(self, predictions: list[InstanceData]) -> None:
        """Follow the scores of a batch, before its boxes are split, as in FreeMatch."""
        device = self.class_means.device
        scores = torch.cat([p.scores for p in predictions]).float().to(device)
        labels = torch.cat([p.labels for p in predictions]).to(device)
        counts_it = scores >= self.low
        sums = torch.zeros(2, self.num_classes, device=device)  # of scores, and how many
        sums[0].index_add_(0, labels[counts_it], scores[counts_it])
        sums[1] = torch.bincount(labels[counts_it], minlength=self.num_classes)
        if get_world_size() > 1:
            all_reduce(sums)
        total, count = sums
        if not bool(count.any()):
            return
        self.mean.lerp_(total.sum() / count.sum(), 1 - self.momentum)
        there = count > 0
        self.class_means[there] = self.class_means[there].lerp(
            total[there] / count[there], 1 - self.momentum
        )
