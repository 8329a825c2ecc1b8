from .action_roi_head import ActionRoIHead
from .conv_roi_stage import ConvRoIStage
from .inception_roi_stage import InceptionRoIStage
from .resnet3d_roi_stage import ResNet3dRoIStage

__all__ = ['ActionRoIHead', 'ConvRoIStage', 'InceptionRoIStage', 'ResNet3dRoIStage']
