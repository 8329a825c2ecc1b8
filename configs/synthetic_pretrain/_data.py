# What the narrow networks start from: seven actions that no benchmark has, in many looks, labelled.
# python tools/data/make_synthetic.py --preset broad --out data/synthetic_pretrain
_base_ = ['../_base_/datasets/synthetic.py', '../_base_/schedules/narrow.py', '../_base_/default_runtime.py']
classes = ('bow', 'jumping_jack', 'kick', 'pull', 'push', 'walk', 'walk_backward')
pair = dict(data_root='data/synthetic_pretrain/', classes=classes)
train_dataloader = dict(
    batch_size=2,  # clips per side: plain looks, and broad ones
    dataset=dict(train_on='source_and_labelled_target', source=dict(**pair), target=dict(**pair)),
)
val_dataloader = test_dataloader = dict(batch_size=16, dataset=dict(**pair))
val_evaluator = test_evaluator = dict(ann_file='data/synthetic_pretrain/target.json', classes=classes)

train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [_base_.warm_up, dict(_base_.cosine, T_max=1450, end=1500)]
