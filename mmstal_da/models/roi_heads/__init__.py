from .action_roi_head import ActionRoIHead
from .inception_roi_stage import InceptionRoIStage

__all__ = ['ActionRoIHead', 'InceptionRoIStage']
