"""Which boxes of a teacher are labels, and which are left out."""

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
