# Small clips for a CPU: 16 frames of short side 112, 1500 iterations.
_base_ = ['../_base_/schedules/pretrained_bf16.py', './_data.py']
clip = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
train_pipeline = [clip, _base_.decode, resize, _base_.flip, _base_.colour, _base_.pack]
test_pipeline = [clip, _base_.decode, resize, _base_.pack]
train_dataloader = dict(num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [
    dict(_base_.warm_up, end=100),
    dict(_base_.cosine, T_max=1400, begin=100, end=1500),
]
