_base_ = ['../_base_/models/i3d_rpn_r50_narrow.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
