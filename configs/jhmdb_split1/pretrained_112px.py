# The paper's networks from Kinetics-400 and ImageNet on small clips: runs on a CPU.
_base_ = ['../_base_/models/i3d_rpn_r50.py', './_112px.py']
model = dict(
    clip_backbone=dict(frozen_end_point='Conv3d_2c_3x3'),  # saves time
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(num_classes=len(_base_.classes)),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),  # TF2's cost grows with the proposals
    test_cfg=dict(rpn=dict(max_per_img=30)),
)
