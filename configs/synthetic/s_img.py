# D_S alone.
_base_ = './_base.py'
model = dict(adaptation=_base_.s_img)
