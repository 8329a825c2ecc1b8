# Static camera -> moving camera, by the labels in the file names of JHMDB. 13 classes.
_base_ = './jhmdb_pair_112px.py'

pair = dict(ann_file='static_to_moving.json', data_root='data/jhmdb/')
source_train = dict(
    _base_.source_train, split='source_train', pipeline=_base_.train_pipeline, **pair
)
target_train = dict(
    _base_.target_train, split='target_train', pipeline=_base_.train_pipeline, **pair
)
target_test = dict(
    _base_.target_test,
    split='target_test',
    background_frames=True,
    pipeline=_base_.test_pipeline,
    **pair,
)

train_dataloader = dict(dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/jhmdb/static_to_moving.json', split='target_test')
test_evaluator = val_evaluator
