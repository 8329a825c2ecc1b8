# The same classes from random weights, narrow, for rows of synthetic pairs on a laptop.
_base_ = './clip_backbones.py'

untrained = dict(norm_eval=False, init_cfg=None)
conv_stage_narrow = dict(_base_.conv_stage, channels=(128, 256))

slowonly_narrow = dict(
    clip_backbone=dict(
        _base_.slowonly.clip_backbone, base_channels=16, conv1_stride_t=2, **untrained
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256),
        shared_head=dict(_base_.slowonly.roi_head.shared_head, base_channels=16, **untrained),
        bbox_head=dict(in_channels=512),
    ),
)
slowfast_narrow = dict(
    clip_backbone=dict(
        _base_.slowfast.clip_backbone,
        resample_rate=2,
        speed_ratio=2,
        slow_pathway=dict(_base_.slow, base_channels=16, norm_eval=False),
        fast_pathway=dict(_base_.fast, base_channels=2, norm_eval=False),
        init_cfg=None,
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=576),  # slow 512, fast 64
        shared_head=dict(conv_stage_narrow, in_channels=576),
    ),
)
mvit_narrow = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    clip_backbone=dict(
        _delete_=True,
        type='mmaction.MViT',
        arch=dict(embed_dims=16, num_layers=4, num_heads=1, downscale_indices=[1, 2, 3]),
        spatial_size=96,
        temporal_size=8,
        output_cls_token=False,
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        shared_head=dict(conv_stage_narrow, in_channels=128),
    ),
)
videomae_narrow = dict(
    clip_backbone=dict(
        _delete_=True,
        type='mmaction.VisionTransformer',
        img_size=96,
        embed_dims=96,
        depth=3,
        num_heads=3,
        num_frames=8,
        use_mean_pooling=False,
        return_feat_map=True,
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96),
        shared_head=dict(conv_stage_narrow, in_channels=96),
    ),
)
