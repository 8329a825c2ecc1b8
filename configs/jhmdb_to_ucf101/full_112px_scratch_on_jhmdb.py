# The same model, scored on the source's held-out videos.
_base_ = './full_112px_scratch.py'
test_dataloader = dict(
    dataset=dict(_base_.source_train, split='test', test_mode=True, pipeline=_base_.test_pipeline)
)
test_evaluator = dict(ann_file='data/jhmdb/jhmdb.json', split='test', class_map=_base_.class_map)
