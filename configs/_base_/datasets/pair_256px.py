# What pairs of datasets share: clips at the paper's size, loaders, the evaluator. A child names the
# files and classes (see ../../README.md); this file alone is no pair.

clip = dict(type='SampleKeyFrameClip', clip_len=20, frame_interval=1)  # [derived]
resize = dict(type='mmaction.Resize', scale=(-1, 256), keep_ratio=True)  # short side 256
train_pipeline = [
    clip,
    dict(type='DecodeFrames'),
    resize,
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='PackTubeInputs'),
]
test_pipeline = [clip, dict(type='DecodeFrames'), resize, dict(type='PackTubeInputs')]

source_train = dict(
    type='ActionTubeDataset', split='train', data_prefix='videos', pipeline=train_pipeline
)
target_train = dict(source_train, labelled=False)  # tubes of the target are never read
target_test = dict(
    type='ActionTubeDataset',
    split='test',
    data_prefix='videos',
    test_mode=True,
    pipeline=test_pipeline,
)

train_dataloader = dict(
    batch_size=1,  # clips per domain
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DrawSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='DualDomainDataset', source=source_train, target=target_train),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=target_test,
)
test_dataloader = val_dataloader

val_evaluator = dict(type='TubeMetric', split='test')
test_evaluator = val_evaluator

# What the check of the config (mmstal_da/datasets/config_checks.py) lets pass only if it is said:
allow_transductive = False  # evaluation on the very videos that were adapted on, without labels
allow_classes_without_truth = ()  # classes that the evaluated split has no tube of
