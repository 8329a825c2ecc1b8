_base_ = './oracle.py'
train_dataloader = _base_.strong
