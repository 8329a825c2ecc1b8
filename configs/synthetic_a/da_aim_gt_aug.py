_base_ = './mt_gt_aug.py'
model = dict(teacher=dict(mix=1.0))
