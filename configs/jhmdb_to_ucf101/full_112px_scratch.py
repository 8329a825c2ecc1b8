# All three modules, the paper's network from random weights, in small: runs on a CPU.
_base_ = [
    '../_base_/models/i3d_rpn_r50_scratch.py',
    '../_base_/datasets/jhmdb_to_ucf101_112px.py',
    '../_base_/schedules/adamw_1500.py',
    '../_base_/adaptation/modules.py',
    '../_base_/default_runtime.py',
]
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=3)),
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    adaptation={k: _base_[k] for k in ('spatial', 'temporal_image', 'temporal_instance')},
)
