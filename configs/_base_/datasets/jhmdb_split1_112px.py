# In small: 16 frames of short side 112.
_base_ = './jhmdb_split1.py'

clip = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
train_pipeline = [
    clip,
    dict(type='DecodeFrames'),
    resize,
    dict(type='mmaction.Flip', flip_ratio=0.5),
    _base_.colour,
    dict(type='PackTubeInputs'),
]
test_pipeline = [clip, dict(type='DecodeFrames'), resize, dict(type='PackTubeInputs')]

train_dataloader = dict(num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
