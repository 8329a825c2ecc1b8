# The pair for detectors on given proposals: labelled source alone, proposals of our RPN,
#     python tools/data/dump_proposals.py configs/jhmdb_static_to_moving/source_only.py CHECKPOINT \
#         --out data/proposals/jhmdb_static_to_moving.npz
_base_ = './jhmdb_static_to_moving.py'

proposals = dict(type='LoadProposals', proposals='data/proposals/jhmdb_static_to_moving.npz')
pack = dict(type='PackAVAInputs', num_classes=13)
augment = [*_base_.augment[:-1], pack]
decode_test = [*_base_.decode]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SeededDraws',
        dataset=dict(
            _base_.source_train, pipeline=[*_base_.decode, dict(proposals, part='train'), *augment]
        ),
    )
)
val_dataloader = dict(
    batch_size=1,  # MMAction2's AVARoIHead takes no more at test
    dataset=dict(
        pipeline=[*decode_test, dict(proposals, part='test'), _base_.resize, pack],
    ),
)
test_dataloader = val_dataloader
