# MMAction2's SlowOnly-R50, narrow; source only, proposals of our RPN.
_base_ = [
    '../_base_/models/slowonly_r50_narrow.py',
    '../_base_/datasets/synthetic_b_proposals.py',
    '../_base_/schedules/adamw_700_bf16_narrow.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
