# The paper's detector at the paper's size; needs a GPU.
_base_ = [
    '../_base_/models/i3d_rpn_r50.py',
    '../_base_/datasets/jhmdb_split1.py',
    '../_base_/schedules/sgd_20k.py',
    '../_base_/default_runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=21)))
