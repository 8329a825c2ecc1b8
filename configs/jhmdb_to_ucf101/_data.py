# JHMDB -> UCF101-24, three classes, trimmed: only frames with ground truth are evaluated.
_base_ = ['../_base_/datasets/pair_256px.py', '../_base_/default_runtime.py']
classes = ('Basketball', 'GolfSwing', 'WalkingWithDog')
class_map = dict(shoot_ball='Basketball', golf='GolfSwing', walk='WalkingWithDog')
jhmdb = dict(ann_file='jhmdb.json', data_root='data/jhmdb/', classes=classes, class_map=class_map)
ucf101 = dict(ann_file='ucf101_24.json', data_root='data/ucf101_24/', classes=classes)
# videos are chosen by folder, because the target's labels are never read
videos = [f'{name}/*' for name in classes]
train_dataloader = dict(dataset=dict(source=jhmdb, target=dict(videos=videos, **ucf101)))
val_dataloader = test_dataloader = dict(dataset=dict(background_frames=False, **ucf101))
val_evaluator = test_evaluator = dict(
    ann_file='data/ucf101_24/ucf101_24.json', classes=classes, background_frames=False
)
