# The same with the labelled boxes as proposals, in training and test: an upper bound.
_base_ = './synthetic_proposals.py'

load = dict(type='LoadProposals', proposals='ground_truth')
train, test, pack = _base_.train_steps, _base_.test_steps, _base_.pack
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=[*train[:2], load, *train[2:-1], pack])))
val_dataloader = dict(dataset=dict(pipeline=[*test[:2], load, *test[2:-1], pack]))
test_dataloader = val_dataloader
