# Oracle of a detector that sees the key frame alone: climb and descend look alike to it.
_base_ = './oracle.py'
still = dict(type='SampleKeyFrameClip', clip_len=1)
train_dataloader = dict(dataset=dict(target=dict(pipeline=[still, *_base_.train_pipeline[1:]])))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=[still, *_base_.test_pipeline[1:]]))
