# Benchmark A: untrimmed target, background frames are evaluated.
# python tools/data/make_synthetic.py --preset untrimmed --out data/synthetic_a
_base_ = './synthetic.py'

data_root = 'data/synthetic_a/'
source_train = dict(_base_.source_train, data_root=data_root)
target_train = dict(_base_.target_train, data_root=data_root)
target_test = dict(_base_.target_test, data_root=data_root)

train_dataloader = dict(num_workers=1, dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(num_workers=1, dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'target.json')
test_evaluator = val_evaluator
