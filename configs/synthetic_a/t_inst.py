# D_Tinst alone.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        temporal_instance=_base_.temporal_instance,
    ),
)
