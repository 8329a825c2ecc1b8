# All three modules, the paper's network from random weights, on small clips: runs on a CPU. 16 frames of short side
# 112; the target is the few UCF101 clips that are freely available.
_base_ = [
    '../_base_/models/i3d_rpn_r50_scratch.py',
    '../_base_/adaptation/modules.py',
    '../_base_/schedules/narrow_bf16.py',
    './_data.py',
]
clip = dict(type='SampleKeyFrameClip', clip_len=16, frame_interval=1)
resize = dict(type='mmaction.Resize', scale=(-1, 112), keep_ratio=True)
train_pipeline = [clip, _base_.decode, resize, _base_.flip, _base_.pack]
test_pipeline = [clip, _base_.decode, resize, _base_.pack]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(source=dict(pipeline=train_pipeline), target=dict(pipeline=train_pipeline, split='all', videos=None)),
)
val_dataloader = test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline, split='all'))
val_evaluator = test_evaluator = dict(split='all')
# these clips are adapted on without labels and evaluated on; none is of GolfSwing
allow_transductive = True
allow_classes_without_truth = ('GolfSwing',)

train_cfg = dict(max_iters=700, val_interval=700)
param_scheduler = [_base_.warm_up, dict(_base_.cosine, T_max=650, end=700)]
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # half of that for narrow networks

model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)), bbox_head=dict(num_classes=len(_base_.classes))
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),  # TF2's cost grows with the proposals
    test_cfg=dict(rpn=dict(max_per_img=30)),
    adaptation=dict(num_proposals=16, **_base_.full),
)
