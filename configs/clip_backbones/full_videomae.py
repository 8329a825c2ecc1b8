_base_ = './_one_size.py'
model = _base_.videomae
frames = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=4)  # as it was pretrained
train = dict(pipeline=[frames, *_base_.train_pipeline[1:]])
train_dataloader = dict(dataset=dict(source=train, target=train))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=[frames, *_base_.test_pipeline[1:]]))
