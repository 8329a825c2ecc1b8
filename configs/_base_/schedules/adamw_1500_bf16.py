# Pretrained networks on a CPU: bfloat16, a tenth of the learning rate from random weights.
_base_ = './adamw_600.py'
max_iters = 1500

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# fused: on a CPU the step of AdamW takes a quarter of the time or less
optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(lr=1e-4, fused=True))
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 100,
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=100,
        end=max_iters,
    ),
]
