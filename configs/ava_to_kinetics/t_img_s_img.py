_base_ = './_base.py'
model = dict(adaptation=_base_.t_img_s_img)
