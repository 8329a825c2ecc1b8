# Benchmark A: untrimmed target, background frames are evaluated.
# python tools/data/make_synthetic.py --preset untrimmed --out data/synthetic_a
_base_ = './synthetic.py'

data_root = 'data/synthetic_a/'
classes = ('climb', 'descend', 'squat', 'wave')  # the first two share every pose
pair = dict(data_root=data_root, classes=classes)
source_train = dict(_base_.source_train, **pair)
target_train = dict(_base_.target_train, **pair)
target_test = dict(_base_.target_test, **pair)

train_dataloader = dict(num_workers=1, dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(batch_size=16, num_workers=1, dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'target.json', classes=classes)
test_evaluator = val_evaluator
