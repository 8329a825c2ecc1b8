# The pair for detectors on given proposals: labelled source alone, proposals of our RPN,
#     python tools/data/dump_proposals.py configs/jhmdb_to_foggy/source_only.py CHECKPOINT \
#         --out data/proposals/jhmdb_to_foggy.npz
_base_ = './jhmdb_to_foggy.py'

load = dict(type='LoadProposals', proposals='data/proposals/jhmdb_to_foggy.npz')
pack = dict(type='PackAVAInputs', num_classes=len(_base_.classes))
train_steps = _base_.source_train.pipeline
test_steps = _base_.target_test.pipeline
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SeededDraws',
        dataset=dict(
            _base_.source_train,
            pipeline=[*train_steps[:2], dict(load, part='train'), *train_steps[2:-1], pack],
        ),
    )
)
val_dataloader = dict(
    batch_size=1,  # MMAction2's AVARoIHead takes no more at test
    dataset=dict(pipeline=[*test_steps[:2], dict(load, part='test'), *test_steps[2:-1], pack]),
)
test_dataloader = val_dataloader
