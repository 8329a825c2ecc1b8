# A quarter of the width, from random weights: the same classes, for a laptop.
_base_ = './slowonly_r50.py'

model = dict(
    init_cfg=None,
    # half of the synthetic pair's 8 frames; batch norm on batch statistics
    backbone=dict(base_channels=16, conv1_stride_t=2, norm_eval=False),
    roi_head=dict(bbox_head=dict(in_channels=512)),
)
