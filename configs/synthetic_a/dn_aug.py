_base_ = './dn.py'
train_dataloader = _base_.strong
