# The paper's detector at the paper's size; needs a GPU.
_base_ = ['../_base_/models/i3d_rpn_r50.py', '../_base_/schedules/paper.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
