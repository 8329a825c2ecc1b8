# Oracle on the labels of both domains, an upper bound.
_base_ = './_base.py'
train_dataloader = dict(dataset=dict(train_on='source_and_labelled_target'))
