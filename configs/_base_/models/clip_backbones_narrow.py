# The same classes from random weights, narrow, for rows of synthetic pairs on a laptop.
_base_ = './clip_backbones.py'
untrained = dict(base_channels=16, norm_eval=False, init_cfg=None)
narrow_stage = dict(_base_.conv_stage, channels=(128, 256))
slowonly_narrow = dict(
    clip_backbone=dict(_base_.slowonly_to_3, conv1_stride_t=2, **untrained),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256),
        shared_head=dict(_base_.stage_4, **untrained),
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
        shared_head=dict(narrow_stage, in_channels=576),
    ),
)
small = dict(embed_dims=16, num_layers=4, num_heads=1, downscale_indices=[1, 2, 3])
mvit_narrow = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    clip_backbone=dict(_base_.mvit_s, arch=small, spatial_size=96, temporal_size=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128), shared_head=dict(narrow_stage, in_channels=128)
    ),
)
vit = dict(_base_.vit_b, img_size=96, embed_dims=96, depth=3, num_heads=3, num_frames=8)
vit.pop('init_cfg')
videomae_narrow = dict(
    clip_backbone=vit,
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96), shared_head=dict(narrow_stage, in_channels=96)
    ),
)
