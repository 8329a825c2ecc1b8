# The synthetic pair of tools/data/make_synthetic.py, 128 x 96 pixels.
data_root = 'data/synthetic/'
classes = ('pull', 'push', 'squat', 'wave')  # push and pull share every pose

# 16 frames of every second: 1.3 cycles of an action
clip = dict(type='SampleKeyFrameClip', clip_len=8, frame_interval=2)
train_pipeline = [
    clip,
    dict(type='DecodeFrames'),
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='PackTubeInputs'),
]
test_pipeline = [clip, dict(type='DecodeFrames'), dict(type='PackTubeInputs')]

source_train = dict(
    type='ActionTubeDataset',
    ann_file='source.json',
    split='train',
    data_root=data_root,
    classes=classes,
    pipeline=train_pipeline,
)
target_train = dict(
    type='ActionTubeDataset',
    ann_file='target.json',
    split='train',
    data_root=data_root,
    classes=classes,
    labelled=False,  # tubes of the target are never read
    pipeline=train_pipeline,
)
target_test = dict(
    type='ActionTubeDataset',
    ann_file='target.json',
    split='test',
    data_root=data_root,
    classes=classes,
    background_frames=True,
    test_mode=True,
    pipeline=test_pipeline,
)

train_dataloader = dict(
    batch_size=4,  # clips per domain
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DrawSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='DualDomainDataset', source=source_train, target=target_train),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=target_test,
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='TubeMetric',
    ann_file=data_root + 'target.json',
    split='test',
    classes=classes,
    background_frames=True,
)
test_evaluator = val_evaluator
