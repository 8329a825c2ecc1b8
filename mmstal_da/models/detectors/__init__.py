from .action_tube import ActionTubeDetector

__all__ = ['ActionTubeDetector']
