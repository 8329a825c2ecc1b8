# What the pairs made of JHMDB share: 8 frames in steps of 2, short side 112; all frames have a box.
_base_ = './pair_256px.py'

clip = dict(type='SampleKeyFrameClip', clip_len=8, frame_interval=2)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
augment = [
    resize,
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='mmaction.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type='PackTubeInputs'),
]
decode = [clip, dict(type='DecodeFrames')]
train_pipeline = [*decode, *augment]
test_pipeline = [*decode, resize, dict(type='PackTubeInputs')]
train_dataloader = dict(batch_size=2, num_workers=1)
val_dataloader = dict(batch_size=8, num_workers=1)
test_dataloader = val_dataloader
