_base_ = './full.py'
train_dataloader = _base_.strong
