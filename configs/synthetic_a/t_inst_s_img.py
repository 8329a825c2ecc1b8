# D_Tinst and D_S.
_base_ = './_base.py'
model = dict(adaptation=_base_.t_inst_s_img)
