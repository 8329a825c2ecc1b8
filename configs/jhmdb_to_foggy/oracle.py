# Oracle: trained on the labelled target.
_base_ = './_base.py'
model = dict(domain_norm=None)  # one domain
train_dataloader = dict(dataset=dict(train_on='labelled_target'))
