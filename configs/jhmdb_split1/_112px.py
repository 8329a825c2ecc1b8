# Small clips for a CPU: 16 frames of short side 112, 1500 iterations.
_base_ = ['../_base_/schedules/narrow_bf16.py', './_data.py']
clip = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
train_pipeline = [clip, _base_.decode, resize, _base_.flip, _base_.colour, _base_.pack]
test_pipeline = [clip, _base_.decode, resize, _base_.pack]
train_dataloader = dict(num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))

optim_wrapper = _base_.pretrained
train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [dict(_base_.warm_up, end=100), dict(_base_.cosine, T_max=1400, begin=100, end=1500)]

# `model = _base_.small`
small = dict(
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)), bbox_head=dict(num_classes=len(_base_.classes))
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),  # TF2's cost grows with the proposals
    test_cfg=dict(rpn=dict(max_per_img=30)),
)
