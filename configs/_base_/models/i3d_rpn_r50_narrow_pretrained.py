# The narrow networks from the weights of ../../synthetic_pretrain, as the paper's from Kinetics and ImageNet: batch
# norm and the lowest layers are frozen, RPN and heads start from random weights.
_base_ = './i3d_rpn_r50_narrow.py'
narrow = dict(_delete_=True, type='StrictPretrained', checkpoint='mmstal_da://narrow_detector')
model = dict(
    backbone=dict(
        frozen_stages=1,
        norm_cfg=dict(requires_grad=False),
        norm_eval=True,
        init_cfg=dict(narrow, prefix='backbone.'),
    ),
    clip_backbone=dict(
        frozen_end_point='MaxPool3d_3a_3x3', norm_eval=True, init_cfg=dict(narrow, prefix='clip_backbone.')
    ),
    roi_head=dict(shared_head=dict(norm_eval=True, init_cfg=dict(narrow, prefix='roi_head.shared_head.'))),
)
