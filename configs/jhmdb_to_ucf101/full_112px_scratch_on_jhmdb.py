# The same model, scored on the source's held-out videos.
_base_ = './full_112px_scratch.py'
test_dataloader = dict(dataset=dict(split='test', **_base_.jhmdb))
test_evaluator = dict(ann_file='data/jhmdb/jhmdb.json', split='test', class_map=_base_.class_map)
