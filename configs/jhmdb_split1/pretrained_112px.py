# The paper's networks from Kinetics-400 and ImageNet on small clips: runs on a CPU.
_base_ = ['../_base_/models/i3d_rpn_r50.py', './_112px.py']
model = dict(_base_.small, clip_backbone=dict(frozen_end_point='Conv3d_2c_3x3'))  # frozen: saves time
