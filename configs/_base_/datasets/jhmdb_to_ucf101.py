# JHMDB -> UCF101-24, three classes, trimmed: only frames with ground truth are evaluated.
classes = ('Basketball', 'GolfSwing', 'WalkingWithDog')
class_map = dict(shoot_ball='Basketball', golf='GolfSwing', walk='WalkingWithDog')

clip = dict(type='SampleKeyFrameClip', clip_len=20, frame_interval=1)
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
    type='ActionTubeDataset',
    ann_file='jhmdb.json',
    split='train',
    data_root='data/jhmdb/',
    data_prefix='videos',
    classes=classes,
    class_map=class_map,
    pipeline=train_pipeline,
)
target_train = dict(
    type='ActionTubeDataset',
    ann_file='ucf101_24.json',
    split='train',
    data_root='data/ucf101_24/',
    data_prefix='videos',
    classes=classes,
    class_map=None,
    # which videos: by folder, as the target's labels are never read
    videos=[f'{name}/*' for name in classes],
    labelled=False,
    pipeline=train_pipeline,
)
target_test = dict(
    type='ActionTubeDataset',
    ann_file='ucf101_24.json',
    split='test',
    data_root='data/ucf101_24/',
    data_prefix='videos',
    classes=classes,
    background_frames=False,
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

val_evaluator = dict(
    type='TubeMetric',
    ann_file='data/ucf101_24/ucf101_24.json',
    split='test',
    classes=classes,
    background_frames=False,
)
test_evaluator = val_evaluator
