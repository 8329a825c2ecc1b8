# Static camera -> moving camera, by the labels in the file names of JHMDB. 13 classes.
_base_ = ['../_base_/datasets/pair_112px.py', '../_base_/schedules/narrow_bf16.py', '../_base_/default_runtime.py']
classes = ('clap', 'golf', 'kick_ball', 'pick', 'pour', 'pullup', 'shoot_ball', 'shoot_gun')
classes += ('sit', 'stand', 'swing_baseball', 'walk', 'wave')
pair = dict(ann_file='static_to_moving.json', data_root='data/jhmdb/', classes=classes)
train_dataloader = dict(dataset=dict(source=dict(**pair), target=dict(**pair)))
val_dataloader = test_dataloader = dict(dataset=dict(**pair))
val_evaluator = test_evaluator = dict(ann_file='data/jhmdb/static_to_moving.json', classes=classes)

optim_wrapper = _base_.pretrained
train_cfg = dict(max_iters=800, val_interval=800)
param_scheduler = [_base_.warm_up, dict(_base_.cosine, T_max=750, end=800)]
