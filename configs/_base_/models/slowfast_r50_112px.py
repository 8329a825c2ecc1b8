# SlowFast-R50 for a CPU: the slow pathway from ImageNet's ResNet-50 (tools/get_weights.py),
# inflated by MMAction2. The fast pathway has no such weights and starts from random ones.
_base_ = './slowfast_r50.py'

model = dict(
    init_cfg=None,
    # as in the training of the original ResNet-50: BGR, means only
    data_preprocessor=dict(
        mean=[103.939, 116.779, 123.68],
        std=[1.0, 1.0, 1.0],
        to_rgb=True,  # swaps: RGB -> BGR
    ),
    backbone=dict(
        resample_rate=2,  # the slow pathway sees 4 of the 8 frames
        speed_ratio=2,
        slow_pathway=dict(
            pretrained='data/weights/resnet50_imagenet.pth',
            pretrained2d=True,
            style='caffe',
            frozen_stages=1,
        ),
        fast_pathway=dict(norm_eval=False),
    ),
    roi_head=dict(bbox_roi_extractor=dict(output_size=4)),
)
