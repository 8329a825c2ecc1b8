"""MMEngine metrics; importing this registers them."""

from .tube_metric import TubeMetric

__all__ = ['TubeMetric']
