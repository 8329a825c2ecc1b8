# D_Timg and D_S.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        temporal_image=_base_.temporal_image,
        spatial=_base_.spatial,
    ),
)
