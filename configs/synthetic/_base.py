# What the rows share: the narrow detector, source and target in every batch.
_base_ = [
    '../_base_/models/i3d_rpn_r50_narrow.py',
    '../_base_/datasets/synthetic.py',
    '../_base_/schedules/adamw_600.py',
    '../_base_/adaptation/modules.py',
    '../_base_/default_runtime.py',
]
