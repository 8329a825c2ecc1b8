# Narrow networks from random weights on a CPU: bfloat16.
_base_ = './adamw_600.py'
max_iters = 800

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='BFloat16OptimWrapper')
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_iters - 50, end=max_iters),
]
