# ACRN on the SlowFast-R50 of slowfast_r50_112px.py.
_base_ = './slowfast_r50_112px.py'

model = dict(
    roi_head=dict(
        shared_head=dict(type='mmdet.ACRNHead', in_channels=4608, out_channels=2304),  # 2 x 2304
    ),
)
