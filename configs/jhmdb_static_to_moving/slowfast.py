_base_ = ['../_base_/models/slowfast_r50_112px.py', './_proposals.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
