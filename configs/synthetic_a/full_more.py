_base_ = './full.py'
train_dataloader = dict(dataset=dict(target_clips=2))
