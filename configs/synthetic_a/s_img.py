# D_S alone.
_base_ = './_base.py'
model = dict(
    adaptation=dict(
        spatial=_base_.spatial,
    ),
)
