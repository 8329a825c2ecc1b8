# ACRN on SlowFast-R50: every actor's features are related to the whole map before they are
# classified (slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e).
_base_ = './slowfast_r50.py'

model = dict(
    roi_head=dict(
        shared_head=dict(type='mmdet.ACRNHead', in_channels=4608, out_channels=2304),  # 2 x 2304
    ),
)
