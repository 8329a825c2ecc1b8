# The pair of `python tools/data/make_synthetic.py --out data/synthetic`.
_base_ = ['../_base_/datasets/synthetic.py', '../_base_/schedules/narrow.py', '../_base_/default_runtime.py']
classes = ('pull', 'push', 'squat', 'wave')  # push and pull share every pose
pair = dict(data_root='data/synthetic/', classes=classes)
train_dataloader = dict(dataset=dict(source=dict(**pair), target=dict(**pair)))
val_dataloader = test_dataloader = dict(dataset=dict(**pair))
val_evaluator = test_evaluator = dict(ann_file='data/synthetic/target.json', classes=classes)

train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [_base_.warm_up, dict(_base_.cosine, T_max=250, end=300)]
