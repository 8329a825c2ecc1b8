# JHMDB, split 1, all 21 classes with labels: the detector alone, to compare with published ones.
_base_ = ['../_base_/datasets/pair_256px.py', '../_base_/default_runtime.py']
classes = ('brush_hair', 'catch', 'clap', 'climb_stairs', 'golf', 'jump', 'kick_ball', 'pick')
classes += ('pour', 'pullup', 'push', 'run', 'shoot_ball', 'shoot_bow', 'shoot_gun', 'sit')
classes += ('stand', 'swing_baseball', 'throw', 'walk', 'wave')
colour = dict(type='AugmentClip', prob=1.0, hue=0.0, grey=0.0, blur=0.0, noise=0.0, erase=0.0)
train_pipeline = [_base_.clip, _base_.decode, _base_.resize, _base_.flip, colour, _base_.pack]
jhmdb = dict(ann_file='jhmdb.json', data_root='data/jhmdb/', classes=classes)
train = dict(_base_.source, pipeline=train_pipeline, **jhmdb)
train_dataloader = dict(batch_size=4, dataset=dict(_delete_=True, type='SeededDraws', dataset=train))
val_dataloader = test_dataloader = dict(dataset=dict(background_frames=True, **jhmdb))
val_evaluator = test_evaluator = dict(ann_file='data/jhmdb/jhmdb.json', classes=classes)
