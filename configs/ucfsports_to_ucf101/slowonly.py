# MMAction2's SlowOnly-R50; source only, proposals of our RPN.
_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/ucfsports_to_ucf101_proposals.py',
    '../_base_/schedules/sgd_20k.py',
    '../_base_/default_runtime.py',
]
