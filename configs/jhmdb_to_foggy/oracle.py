# Oracle: trained on the labelled target, an upper bound.
_base_ = './_base.py'
model = dict(domain_norm=None)  # one domain
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SeededDraws',
        dataset=dict(_base_.target_train, labelled=True),
    )
)
