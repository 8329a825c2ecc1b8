_base_ = ['../synthetic_a/full.py', '../_base_/models/clip_backbones.py']
model = _base_.videomae_narrow
