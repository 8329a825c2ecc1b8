# The scenario in small: 16 frames of short side 112, and every UCF101 clip at hand as target.
_base_ = './jhmdb_to_ucf101.py'

clip = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
train_pipeline = [
    clip,
    dict(type='DecodeFrames'),
    resize,
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='PackTubeInputs'),
]
test_pipeline = [clip, dict(type='DecodeFrames'), resize, dict(type='PackTubeInputs')]

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(
        source=dict(pipeline=train_pipeline),
        target=dict(pipeline=train_pipeline, split='all', videos=None),
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline, split='all'))
test_dataloader = val_dataloader
val_evaluator = dict(split='all')
test_evaluator = val_evaluator

# the few clips at hand are adapted on without labels and evaluated on; none is of GolfSwing
allow_transductive = True
allow_classes_without_truth = ('GolfSwing',)
