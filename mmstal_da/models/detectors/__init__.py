from .action_tube import ActionTubeDetector
from .domain_adaptive import DomainAdaptiveDetector

__all__ = ['ActionTubeDetector', 'DomainAdaptiveDetector']
