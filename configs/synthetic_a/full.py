# All three modules.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        temporal_image=_base_.temporal_image,
        temporal_instance=_base_.temporal_instance,
        spatial=_base_.spatial,
    ),
)
