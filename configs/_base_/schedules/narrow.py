# For narrow networks from random weights: AdamW needs a tenth of SGD's iterations.
# A pair of another length repeats the lines of `train_cfg` and `param_scheduler` with its own.
train_cfg = dict(type='DrawTrainLoop', max_iters=600, val_interval=600)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10, norm_type=2),
)
warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50)
cosine = dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=False, begin=50)
param_scheduler = [warm_up, dict(cosine, T_max=550, end=600)]
auto_scale_lr = dict(enable=False, base_batch_size=4)
