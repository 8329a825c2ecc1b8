# What the rows share: the narrow detector, source and target in every batch.
_base_ = ['../_base_/models/i3d_rpn_r50_narrow_pretrained.py', '../_base_/adaptation/modules.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
