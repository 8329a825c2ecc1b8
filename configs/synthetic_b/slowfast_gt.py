# MMAction2's SlowFast-R50, narrow; source only, labelled boxes as proposals (upper bound).
_base_ = [
    '../_base_/models/slowfast_r50_narrow.py',
    '../_base_/datasets/synthetic_b_proposals_gt.py',
    '../_base_/schedules/adamw_700_bf16_narrow.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
