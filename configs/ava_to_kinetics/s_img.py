_base_ = './_base.py'
model = dict(adaptation=_base_.s_img)
