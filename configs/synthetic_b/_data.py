# Benchmark B: trimmed target, one class performed differently; only annotated frames are evaluated.
# python tools/data/make_synthetic.py --preset semantic --out data/synthetic_b
_base_ = ['../_base_/datasets/synthetic.py', '../_base_/schedules/narrow_bf16.py', '../_base_/default_runtime.py']
classes = ('climb', 'descend', 'wave')  # the first two share every pose
pair = dict(data_root='data/synthetic_b/', classes=classes)
train_dataloader = dict(num_workers=1, dataset=dict(source=dict(**pair), target=dict(**pair)))
val_dataloader = test_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(background_frames=False, **pair))
val_evaluator = test_evaluator = dict(ann_file='data/synthetic_b/target.json', classes=classes, background_frames=False)

train_cfg = dict(max_iters=1200, val_interval=1200)
param_scheduler = [_base_.warm_up, dict(_base_.cosine, T_max=1150, end=1200)]
