"""MMEngine metrics; importing this registers them."""

from .label_free_metric import LabelFreeMetric
from .tube_metric import TubeMetric

__all__ = ['LabelFreeMetric', 'TubeMetric']
