# SlowOnly for a CPU: ImageNet's ResNet-50, inflated by MMAction2, and its last stage as TF2.
_base_ = ['../jhmdb_static_to_moving/full.py', '../_base_/models/clip_backbones.py']
resnet50 = dict(pretrained='data/weights/resnet50_imagenet.pth', pretrained2d=True, style='caffe')
layer4 = dict(_delete_=True, type='mmdet.ResLayer', depth=50, stride=1, style='caffe')
before_4 = (*_base_.before_4, 'bn1.', 'fc.')
layer4.update(init_cfg=dict(type='StrictPretrained', checkpoint=resnet50['pretrained'], unused=before_4))
model = dict(
    data_preprocessor=dict(clip_mean=[103.939, 116.779, 123.68], clip_std=[1.0] * 3, clip_bgr=True),
    # frozen: the largest maps, saves time
    clip_backbone=dict(_base_.slowonly_to_3, frozen_stages=2, conv1_stride_t=2, init_cfg=None, **resnet50),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=1024),
        shared_head=layer4,
        bbox_head=dict(in_channels=2048),
    ),
)
