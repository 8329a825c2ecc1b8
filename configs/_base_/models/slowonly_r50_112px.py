# SlowOnly-R50 for a CPU, from the weights of tools/get_weights.py: ImageNet's ResNet-50, inflated
# by MMAction2, in place of Kinetics'.
_base_ = './slowonly_r50.py'

model = dict(
    init_cfg=None,
    # as in the training of the original ResNet-50: BGR, means only
    data_preprocessor=dict(
        mean=[103.939, 116.779, 123.68],
        std=[1.0, 1.0, 1.0],
        to_rgb=True,  # swaps: RGB -> BGR
    ),
    backbone=dict(
        pretrained='data/weights/resnet50_imagenet.pth',
        pretrained2d=True,
        style='caffe',
        frozen_stages=1,
        conv1_stride_t=2,  # half of the 8 frames
    ),
    roi_head=dict(bbox_roi_extractor=dict(output_size=4)),
)
