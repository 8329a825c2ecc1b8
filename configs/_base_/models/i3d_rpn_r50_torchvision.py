# i3d_rpn_r50.py with torchvision's ResNet-50, which MMEngine downloads by itself: RGB, mean and std, and the stride in
# the 3x3 convolution.
_base_ = './i3d_rpn_r50.py'
model = dict(
    data_preprocessor=dict(key_mean=[123.675, 116.28, 103.53], key_std=[58.395, 57.12, 57.375], key_bgr=False),
    backbone=dict(style='pytorch', init_cfg=dict(checkpoint='torchvision://resnet50')),
)
