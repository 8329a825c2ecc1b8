# I3D+RPN: labelled source alone.
_base_ = './_base.py'
train_dataloader = dict(dataset=dict(train_on='source'))
