_base_ = './source_only.py'
train_dataloader = _base_.pseudo
