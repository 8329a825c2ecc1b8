_base_ = './full_dn.py'
train_dataloader = _base_.strong
