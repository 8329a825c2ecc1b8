# D_Timg alone.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        temporal_image=_base_.temporal_image,
    ),
)
