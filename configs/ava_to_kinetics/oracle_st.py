_base_ = './_base.py'
train_dataloader = dict(dataset=dict(train_on='source_and_labelled_target'))
