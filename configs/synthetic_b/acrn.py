_base_ = './slowfast.py'
model = dict(roi_head=dict(shared_head=_base_.acrn_narrow))
