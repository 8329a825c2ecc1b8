_base_ = './t_inst.py'
train_dataloader = _base_.strong
