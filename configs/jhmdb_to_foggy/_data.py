# JHMDB as it is -> other films of JHMDB in fog, dim light and noise. Ten classes: those that the
# detector does best with labels at 112 px (../jhmdb_split1).
_base_ = ['../_base_/datasets/pair_112px.py', '../_base_/schedules/narrow_bf16.py', '../_base_/default_runtime.py']
classes = ('brush_hair', 'clap', 'climb_stairs', 'golf', 'pick')
classes += ('pour', 'pullup', 'push', 'shoot_bow', 'swing_baseball')
pair = dict(ann_file='foggy.json', data_root='data/jhmdb/', classes=classes)
# a fixed look per video, mostly noise: a network trained on noise can still see the actors
fog = dict(type='DegradeFrames', fog=0.3, low_light=0.5, noise=2.0, seed=0)
# videos are chosen by folder, because the target's labels are never read
target = dict(videos=[f'{name}/*' for name in classes], pipeline=[*_base_.decode, fog, *_base_.augment])
train_dataloader = dict(dataset=dict(source=dict(**pair), target=dict(**target, **pair)))
val_dataloader = test_dataloader = dict(
    dataset=dict(pipeline=[*_base_.decode, fog, _base_.resize, _base_.pack], **pair)
)
val_evaluator = test_evaluator = dict(ann_file='data/jhmdb/foggy.json', classes=classes)

optim_wrapper = _base_.pretrained
train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [dict(_base_.warm_up, end=100), dict(_base_.cosine, T_max=1400, begin=100, end=1500)]
