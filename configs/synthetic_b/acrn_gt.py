_base_ = './slowfast_gt.py'
model = dict(roi_head=dict(shared_head=_base_.acrn_narrow))
