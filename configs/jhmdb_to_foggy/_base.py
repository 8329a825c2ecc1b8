# What the rows share: pretrained networks, source and target in every batch.
_base_ = [
    '../_base_/models/i3d_rpn_r50_112px.py',
    '../_base_/datasets/jhmdb_to_foggy.py',
    '../_base_/schedules/adamw_1500_bf16.py',
    '../_base_/adaptation/modules.py',
    '../_base_/default_runtime.py',
]
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=10)),
)
