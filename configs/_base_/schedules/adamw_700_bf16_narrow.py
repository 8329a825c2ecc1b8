# Narrow networks from random weights on a CPU: bfloat16.
_base_ = './adamw_800_bf16_narrow.py'
max_iters = 700

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_iters - 50, end=max_iters),
]
