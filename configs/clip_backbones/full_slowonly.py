_base_ = ['../jhmdb_to_ucf101/full.py', '../_base_/models/clip_backbones.py']
model = _base_.slowonly
