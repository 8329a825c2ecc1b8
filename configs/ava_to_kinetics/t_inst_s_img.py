_base_ = './_base.py'
model = dict(adaptation=_base_.t_inst_s_img)
