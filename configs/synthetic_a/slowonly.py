# MMAction2's SlowOnly-R50, narrow; source only, proposals of our RPN.
_base_ = [
    '../_base_/models/slowonly_r50_narrow.py',
    '../_base_/datasets/synthetic_a_proposals.py',
    '../_base_/schedules/adamw_800_bf16_narrow.py',
    '../_base_/default_runtime.py',
]
