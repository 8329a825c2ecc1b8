# What the rows share: the paper's detector, source and target in every batch.
_base_ = ['../_base_/models/i3d_rpn_r50.py', '../_base_/adaptation/modules.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
