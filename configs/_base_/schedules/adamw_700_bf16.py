# The paper's network from random weights on a CPU: bfloat16, half the narrow ones' learning rate.
_base_ = './adamw_600.py'
max_iters = 700

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(lr=5e-4))
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_iters - 50, end=max_iters),
]
