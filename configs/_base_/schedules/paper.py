# For the paper's networks on a GPU: SGD as Faster R-CNN's adaptations train [derived], one source
# and one target clip per GPU.
train_cfg = dict(type='DrawTrainLoop', max_iters=20000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', milestones=[14000, 18000], gamma=0.1, by_epoch=False),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)  # clips per domain, on one GPU
