# MMAction2's clip backbones in place of I3D, from its weights of Kinetics-400, which MMEngine downloads.
# A row is `model = _base_.slowonly`, inherited together with a row of a pair.
zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition/'
of_slowonly = zoo + 'slowonly/slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb/'
of_slowonly += 'slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb_20220901-e7b65fad.pth'
of_slowfast = zoo.replace('v1.0/', '') + 'slowfast/slowfast_r50_8x8x1_256e_kinetics400_rgb/'
of_slowfast += 'slowfast_r50_8x8x1_256e_kinetics400_rgb_20200716-73547d2b.pth'
of_mvit = zoo + 'mvit/mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb/'
of_mvit += 'mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb_20230201-23284ff3.pth'
of_videomae = zoo + 'videomae/vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-860a3cd3.pth'

clip_colours = dict(clip_mean=[123.675, 116.28, 103.53], clip_std=[58.395, 57.12, 57.375])
strict = dict(type='StrictPretrained', prefix='backbone.')
# TF2 of networks that are used up to their last layer [derived]
conv_stage = dict(_delete_=True, type='ConvRoIStage', channels=(512, 1024))

# up to stage 3 of 4: (N, 1024, T/4, H/16, W/16); TF2 is stage 4
slowonly_to_3 = dict(_delete_=True, type='mmaction.ResNet3dSlowOnly', num_stages=3, norm_eval=True)
slowonly_to_3.update(out_indices=(2,), spatial_strides=(1, 2, 2), temporal_strides=(1, 1, 1))
slowonly_to_3.update(dilations=(1, 1, 1), conv1_stride_t=4)  # every fourth frame of the clip
slowonly_to_3.update(init_cfg=dict(strict, checkpoint=of_slowonly, unused=('layer4.',)))
before_4 = ('conv1.', 'layer1.', 'layer2.', 'layer3.')
stage_4 = dict(_delete_=True, type='ResNet3dRoIStage', norm_eval=True)
stage_4.update(init_cfg=dict(strict, checkpoint=of_slowonly, unused=before_4))
slowonly = dict(
    data_preprocessor=clip_colours,
    clip_backbone=slowonly_to_3,
    roi_head=dict(bbox_roi_extractor=dict(out_channels=1024), shared_head=stage_4, bbox_head=dict(in_channels=2048)),
)

# slow (N, 2048, T/4, H/16, W/16) and fast (N, 256, T, H/16, W/16), each averaged over time
fast = dict(type='resnet3d', lateral=False, spatial_strides=(1, 2, 2, 1), norm_eval=True)
slow = dict(fast, lateral=True, fusion_kernel=7, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1))
fast.update(base_channels=8, conv1_kernel=(5, 7, 7))
slow_and_fast = dict(_delete_=True, type='mmaction.ResNet3dSlowFast', slow_pathway=slow, fast_pathway=fast)
slow_and_fast.update(resample_rate=4, speed_ratio=4, init_cfg=None)
slowfast = dict(
    data_preprocessor=clip_colours,
    clip_backbone=dict(slow_and_fast, init_cfg=dict(strict, checkpoint=of_slowfast)),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=2304), shared_head=dict(conv_stage, in_channels=2304)),
)

# (N, 768, T/2, H/32, W/32), interpolated to the key frame's stride of 16
mvit_s = dict(_delete_=True, type='mmaction.MViT', arch='small', output_cls_token=False)
mvit = dict(
    data_preprocessor=dict(pad_size_divisor=32, **clip_colours),
    clip_backbone=dict(mvit_s, drop_path_rate=0.2, init_cfg=dict(strict, checkpoint=of_mvit)),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=768), shared_head=dict(conv_stage, in_channels=768)),
)

# (N, 768, T/2, H/16, W/16), for clips of 16 frames
vit_b = dict(_delete_=True, type='mmaction.VisionTransformer', num_frames=16)
vit_b.update(use_mean_pooling=False, return_feat_map=True, drop_path_rate=0.2)
# not strict: the file has a norm after pooling, in place of the last norm here
vit_b.update(init_cfg=dict(type='Pretrained', checkpoint=of_videomae, prefix='backbone.'))
videomae = dict(data_preprocessor=clip_colours, clip_backbone=vit_b, roi_head=mvit['roi_head'])

# The same classes from random weights, narrow, for rows of synthetic pairs on a laptop.
untrained = dict(base_channels=16, norm_eval=False, init_cfg=None)
slow_narrow = dict(slow, base_channels=16, norm_eval=False)
fast_narrow = dict(fast, base_channels=2, norm_eval=False)
narrow_stage = dict(conv_stage, channels=(128, 256))
slowonly_narrow = dict(
    clip_backbone=dict(slowonly_to_3, conv1_stride_t=2) | untrained,
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256), shared_head=stage_4 | untrained, bbox_head=dict(in_channels=512)
    ),
)
slowfast_narrow = dict(
    clip_backbone=dict(
        slow_and_fast, resample_rate=2, speed_ratio=2, slow_pathway=slow_narrow, fast_pathway=fast_narrow
    ),
    # slow 512, fast 64
    roi_head=dict(bbox_roi_extractor=dict(out_channels=576), shared_head=dict(narrow_stage, in_channels=576)),
)
small = dict(embed_dims=16, num_layers=4, num_heads=1, downscale_indices=[1, 2, 3])
mvit_narrow = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    clip_backbone=dict(mvit_s, arch=small, spatial_size=96, temporal_size=8),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=128), shared_head=dict(narrow_stage, in_channels=128)),
)
vit = dict(vit_b, img_size=96, embed_dims=96, depth=3, num_heads=3, num_frames=8)
vit.pop('init_cfg')
videomae_narrow = dict(
    clip_backbone=vit,
    roi_head=dict(bbox_roi_extractor=dict(out_channels=96), shared_head=dict(narrow_stage, in_channels=96)),
)
