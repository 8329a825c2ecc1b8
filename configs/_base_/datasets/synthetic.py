# What the rendered pairs of tools/data/make_synthetic.py share: 128 x 96 pixels. A child names folder and classes.
_base_ = './pair_256px.py'
# 8 frames in steps of 2, so 16 frames of video: 1.3 cycles of an action
clip = dict(type='SampleKeyFrameClip', clip_len=8, frame_interval=2)
train_pipeline = [clip, _base_.decode, _base_.flip, _base_.pack]
test_pipeline = [clip, _base_.decode, _base_.pack]
# for rows *_aug: `train_dataloader = _base_.strong`
strong_pipeline = [clip, _base_.decode, _base_.flip, dict(type='AugmentClip'), _base_.pack]
strong = dict(dataset=dict(source=dict(pipeline=strong_pipeline), target=dict(pipeline=strong_pipeline)))
# of the target in rows with a teacher (../teacher.py), which sees it before AugmentClip
two_views = [clip, _base_.decode, _base_.flip, dict(type='KeepWeakView'), dict(type='AugmentClip'), _base_.pack]
train_dataloader = dict(
    batch_size=4,  # clips per domain
    num_workers=2,
    dataset=dict(
        source=dict(ann_file='source.json', data_prefix='', pipeline=train_pipeline),
        target=dict(ann_file='target.json', data_prefix='', pipeline=train_pipeline),
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(ann_file='target.json', data_prefix='', background_frames=True, pipeline=test_pipeline),
)
val_evaluator = test_evaluator = dict(background_frames=True)
