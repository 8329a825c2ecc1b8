# Narrow networks from random weights on a CPU: bfloat16.
_base_ = './adamw_600.py'
max_iters = 800

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='BFloat16OptimWrapper')
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 50,
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=50,
        end=max_iters,
    ),
]
