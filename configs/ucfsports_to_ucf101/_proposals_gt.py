# The labelled boxes as proposals, in training and test: an upper bound.
_base_ = './_proposals.py'
train_dataloader = dict(dataset=dict(source=dict(proposals='ground_truth')))
val_dataloader = dict(dataset=dict(proposals='ground_truth'))
test_dataloader = val_dataloader
