"""Datasets of action tubes, pairs of domains, and their transforms."""

from .draws import Draw, SeededDraws
from .dual_domain import DualDomainDataset
from .samplers import DrawSampler
from .transforms import *  # noqa: F403
from .tube_dataset import ActionTubeDataset

__all__ = ['ActionTubeDataset', 'Draw', 'DrawSampler', 'DualDomainDataset', 'SeededDraws']
