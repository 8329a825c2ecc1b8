# D_Timg and D_S.
_base_ = './_base.py'
model = dict(adaptation=_base_.t_img_s_img)
