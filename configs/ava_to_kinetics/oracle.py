_base_ = './_base.py'
train_dataloader = dict(dataset=dict(train_on='labelled_target'))
