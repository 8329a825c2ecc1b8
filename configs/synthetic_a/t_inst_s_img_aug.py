_base_ = './t_inst_s_img.py'
train_dataloader = _base_.strong
