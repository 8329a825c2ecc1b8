_base_ = ['../_base_/models/slowfast_r50.py', './_proposals_gt.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
