# Benchmark B for detectors on given proposals: labelled source alone, proposals of our RPN,
#     python tools/data/dump_proposals.py configs/synthetic_b/source_only.py CHECKPOINT \
#         --out data/proposals/synthetic_b.npz
_base_ = './synthetic_b.py'

proposals = dict(type='LoadProposals', proposals='data/proposals/synthetic_b.npz')
pack = dict(type='PackAVAInputs', num_classes=len(_base_.classes))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SeededDraws',
        dataset=dict(
            _base_.source_train,
            pipeline=[
                _base_.clip,
                dict(type='DecodeFrames'),
                dict(proposals, part='train'),
                dict(type='mmaction.Flip', flip_ratio=0.5),
                pack,
            ],
        ),
    )
)
val_dataloader = dict(
    batch_size=1,  # MMAction2's AVARoIHead takes no more at test
    dataset=dict(
        pipeline=[_base_.clip, dict(type='DecodeFrames'), dict(proposals, part='test'), pack]
    ),
)
test_dataloader = val_dataloader
