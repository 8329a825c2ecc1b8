_base_ = './source_only_aug.py'
train_dataloader = _base_.pseudo
