# The paper's detector from random weights: every layer trains, batch norm on batch statistics.
_base_ = './i3d_rpn_r50_torchvision.py'
# I3D's momentum of 0.01 is for long trainings
i3d = dict(norm_eval=False, norm_momentum=0.1, init_cfg=dict(_delete_=True, type='Kaiming', layer='Conv3d'))
model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=dict(requires_grad=True), norm_eval=False, init_cfg=None),
    clip_backbone=i3d,
    roi_head=dict(shared_head=i3d),
)
