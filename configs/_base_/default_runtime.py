default_scope = 'mmstal_da'
# lets MMAction2's own tools run these configs too
custom_imports = dict(imports=['mmstal_da.register'], allow_failed_imports=False)
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # the last checkpoint is reported: choosing one by target scores would use labels
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=2),
    finite=dict(type='FiniteHook', allowed_skips=0),  # a NaN ends the training, nothing is saved
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # a killed run resumes to the same weights
    iteration_seed=dict(type='IterationSeedHook'),
    # lambda of Eq. 7 rises as in DANN; does nothing while model.adaptation is None
    adaptation_weight=dict(type='AdaptationWeightHook', schedule='dann', max_weight=0.1, gamma=10.0),
    # whether the adaptation works, in the log; does nothing in rows without adaptation
    adaptation_monitor=dict(type='AdaptationMonitorHook', interval=50),
    # if bfloat16 is not native, tests run in float32; results record the precision
    precision=dict(type='PrecisionHook'),
    # pictures of each validation in TensorBoard (0: none); --show-dir of tools/test.py
    visualization=dict(type='TubeVisualizationHook', val_pictures=8),
)
env_cfg = dict(dist_cfg=dict(backend='nccl'))  # the rest is MMEngine's default
randomness = dict(seed=0)
# accuracies and what the monitor measures are means over the window, too
mean = r'.*(loss|time|data_time|grad_norm|grad_share|acc|target_).*'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False, mean_pattern=mean)
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='mmaction.ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
