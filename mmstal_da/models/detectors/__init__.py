from .action_tube_detector import ActionTubeDetector

__all__ = ['ActionTubeDetector']
