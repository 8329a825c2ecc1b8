# MMAction2's SlowOnly-R50; source only, proposals of our RPN.
_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/jhmdb_to_ucf101_proposals.py',
    '../_base_/schedules/sgd_20k.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
