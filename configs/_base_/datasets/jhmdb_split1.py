# JHMDB, split 1, all 21 classes with labels: an ordinary detector, to be set beside published ones.
clip = dict(type='SampleKeyFrameClip', clip_len=20, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 256), keep_ratio=True)  # short side 256
colour = dict(type='mmaction.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0)
train_pipeline = [
    clip,
    dict(type='DecodeFrames'),
    resize,
    dict(type='mmaction.Flip', flip_ratio=0.5),
    colour,
    dict(type='PackTubeInputs'),
]
test_pipeline = [clip, dict(type='DecodeFrames'), resize, dict(type='PackTubeInputs')]

train = dict(
    type='ActionTubeDataset',
    ann_file='jhmdb.json',
    split='train',
    data_root='data/jhmdb/',
    data_prefix='videos',
    pipeline=train_pipeline,
)

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DrawSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='SeededDraws', dataset=train),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        train, split='test', background_frames=True, test_mode=True, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='TubeMetric', ann_file='data/jhmdb/jhmdb.json', split='test')
test_evaluator = val_evaluator
