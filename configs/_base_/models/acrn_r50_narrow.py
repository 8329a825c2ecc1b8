# A quarter of the width, from random weights: the same classes, for a laptop.
_base_ = './slowfast_r50_narrow.py'

model = dict(
    roi_head=dict(
        shared_head=dict(type='mmdet.ACRNHead', in_channels=1152, out_channels=576),  # 2 x 576
    ),
)
