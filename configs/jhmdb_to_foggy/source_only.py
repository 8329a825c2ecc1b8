# I3D+RPN: labelled source alone.
_base_ = './_base.py'
model = dict(domain_norm=None)  # one domain
train_dataloader = dict(
    dataset=dict(_delete_=True, type='SeededDraws', dataset=_base_.source_train)
)
