# Benchmark B: trimmed target, one class performed differently; only annotated frames are evaluated.
# python tools/data/make_synthetic.py --preset semantic --out data/synthetic_b
_base_ = './synthetic.py'

data_root = 'data/synthetic_b/'
classes = ('climb', 'descend', 'wave')  # the first two share every pose
pair = dict(data_root=data_root, classes=classes)
source_train = dict(_base_.source_train, **pair)
target_train = dict(_base_.target_train, **pair)
target_test = dict(_base_.target_test, background_frames=False, **pair)

train_dataloader = dict(num_workers=1, dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(batch_size=16, num_workers=1, dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'target.json', classes=classes, background_frames=False)
test_evaluator = val_evaluator
