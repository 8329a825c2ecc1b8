# The same with the labelled boxes as proposals, in training and test: an upper bound.
_base_ = './ucfsports_to_ucf101_proposals.py'

boxes = dict(type='LoadProposals', proposals='ground_truth')
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                _base_.clip,
                dict(type='DecodeFrames'),
                boxes,
                _base_.resize,
                dict(type='mmaction.Flip', flip_ratio=0.5),
                _base_.pack,
            ]
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[_base_.clip, dict(type='DecodeFrames'), boxes, _base_.resize, _base_.pack]
    )
)
test_dataloader = val_dataloader
