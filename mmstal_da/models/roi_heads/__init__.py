from .action_roi_head import ActionRoIHead
from .conv_roi_stage import ConvRoIStage
from .inception_roi_stage import InceptionRoIStage
from .multi_label_bbox_head import MultiLabelBBoxHead, MultiLabelCrossEntropy
from .resnet3d_roi_stage import ResNet3dRoIStage

__all__ = [
    'ActionRoIHead',
    'ConvRoIStage',
    'InceptionRoIStage',
    'MultiLabelBBoxHead',
    'MultiLabelCrossEntropy',
    'ResNet3dRoIStage',
]
