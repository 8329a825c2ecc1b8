_base_ = './mt.py'
model = dict(detector=dict(adaptation=_base_.full))
