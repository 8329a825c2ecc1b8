# For networks that see padding (attention, convolutions without batch norm): clips of one size, so
# that there is none. The 4:3 of JHMDB and UCF-101 becomes 5:4.
_base_ = ['../jhmdb_to_ucf101/full.py', '../_base_/models/clip_backbones.py']
one_size = dict(type='mmaction.Resize', scale=(320, 256), keep_ratio=False)
train_pipeline = [*_base_.train_pipeline[:2], one_size, *_base_.train_pipeline[3:]]
test_pipeline = [*_base_.test_pipeline[:2], one_size, *_base_.test_pipeline[3:]]
train = dict(pipeline=train_pipeline)
train_dataloader = dict(dataset=dict(source=train, target=train))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
