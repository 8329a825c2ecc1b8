# I3D+RPN: labelled source alone.
_base_ = './_base.py'
model = dict(domain_norm=None)  # one domain
train_dataloader = dict(dataset=dict(train_on='source'))
