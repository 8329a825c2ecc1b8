# MMAction2's ACRN on SlowFast-R50; source only, proposals of our RPN.
_base_ = [
    '../_base_/models/acrn_r50_112px.py',
    '../_base_/datasets/jhmdb_to_foggy_proposals.py',
    '../_base_/schedules/adamw_1500_bf16.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
