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
    adaptation_weight=dict(
        type='AdaptationWeightHook', schedule='dann', max_weight=0.1, gamma=10.0
    ),
    # if bfloat16 is not native, tests run in float32; results record the precision
    precision=dict(type='PrecisionHook'),
    visualization=dict(type='TubeVisualizationHook'),  # --show-dir of tools/test.py
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0)
# accuracies, too, are means over the window
mean = r'.*(loss|time|data_time|grad_norm|acc).*'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False, mean_pattern=mean)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='mmaction.ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
