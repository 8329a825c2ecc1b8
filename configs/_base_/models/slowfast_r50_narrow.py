# A quarter of the width, from random weights: the same classes, for a laptop.
_base_ = './slowfast_r50.py'

model = dict(
    init_cfg=None,
    backbone=dict(
        resample_rate=2,  # the slow pathway sees 4 of the synthetic pair's 8 frames
        speed_ratio=2,
        slow_pathway=dict(base_channels=16, norm_eval=False),
        # an eighth of the slow one's, as in MMAction2
        fast_pathway=dict(base_channels=2, norm_eval=False),
    ),
    roi_head=dict(bbox_head=dict(in_channels=576)),  # slow 512, fast 64
)
acrn = dict(type='mmdet.ACRNHead', in_channels=1152, out_channels=576)  # 2 x 576
