_base_ = './full_late.py'
train_dataloader = _base_.strong
