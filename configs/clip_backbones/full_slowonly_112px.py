# SlowOnly for a CPU: ImageNet's ResNet-50, inflated by MMAction2, and its last stage as TF2.
_base_ = ['../jhmdb_static_to_moving/full.py', '../_base_/models/clip_backbones.py']
resnet50 = 'data/weights/resnet50_imagenet.pth'
model = dict(
    data_preprocessor=dict(clip_mean=[103.939, 116.779, 123.68], clip_std=[1.0] * 3, clip_bgr=True),
    clip_backbone=dict(
        _base_.slowonly.clip_backbone,
        pretrained=resnet50,
        pretrained2d=True,
        style='caffe',
        frozen_stages=2,  # the largest maps: saves time
        conv1_stride_t=2,
        init_cfg=None,
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=1024),
        shared_head=dict(
            _delete_=True,
            type='mmdet.ResLayer',
            depth=50,
            stride=1,
            style='caffe',
            init_cfg=dict(
                type='StrictPretrained',
                checkpoint=resnet50,
                unused=('conv1.', 'bn1.', 'layer1.', 'layer2.', 'layer3.', 'fc.'),
            ),
        ),
        bbox_head=dict(in_channels=2048),
    ),
)
