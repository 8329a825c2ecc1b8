# JHMDB -> UCF101-24, three classes, trimmed: only frames with ground truth are evaluated.
_base_ = './pair_256px.py'

classes = ('Basketball', 'GolfSwing', 'WalkingWithDog')
class_map = dict(shoot_ball='Basketball', golf='GolfSwing', walk='WalkingWithDog')
jhmdb = dict(ann_file='jhmdb.json', data_root='data/jhmdb/', classes=classes, class_map=class_map)
ucf101 = dict(ann_file='ucf101_24.json', data_root='data/ucf101_24/', classes=classes)

source_train = dict(_base_.source_train, **jhmdb)
# which videos: by folder, as the target's labels are never read
target_train = dict(_base_.target_train, videos=[f'{name}/*' for name in classes], **ucf101)
target_test = dict(_base_.target_test, background_frames=False, **ucf101)

train_dataloader = dict(dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file='data/ucf101_24/ucf101_24.json', classes=classes, background_frames=False
)
test_evaluator = val_evaluator
