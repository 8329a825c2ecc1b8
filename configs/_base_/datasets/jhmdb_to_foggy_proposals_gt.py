# The same with the labelled boxes as proposals, in training and test: an upper bound.
_base_ = './jhmdb_to_foggy_proposals.py'

boxes = dict(type='LoadProposals', proposals='ground_truth')
train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=[*_base_.decode, boxes, *_base_.augment]))
)
val_dataloader = dict(
    dataset=dict(pipeline=[*_base_.decode_test, boxes, _base_.resize, _base_.pack]),
)
test_dataloader = val_dataloader
