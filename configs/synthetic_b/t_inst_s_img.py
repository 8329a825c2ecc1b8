# D_Tinst and D_S.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        temporal_instance=_base_.temporal_instance,
        spatial=_base_.spatial,
    ),
)
