# What the pairs made of JHMDB share: 8 frames in steps of 2, short side 112; all frames have a box.
_base_ = './pair_256px.py'
clip = dict(type='SampleKeyFrameClip', clip_len=8, frame_interval=2)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
colour = dict(type='AugmentClip', prob=1.0, hue=0.0, grey=0.0, blur=0.0, noise=0.0, erase=0.0)
decode = [clip, _base_.decode]
augment = [resize, _base_.flip, colour, _base_.pack]
train_pipeline = [*decode, *augment]
test_pipeline = [*decode, resize, _base_.pack]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(
        source=dict(split='source_train', pipeline=train_pipeline),
        target=dict(split='target_train', pipeline=train_pipeline),
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(split='target_test', background_frames=True, pipeline=test_pipeline)
)
val_evaluator = test_evaluator = dict(split='target_test')
