# UCF-Sports -> UCF101-24, four classes, untrimmed: every frame of a test video is evaluated.
_base_ = './pair_256px.py'

classes = ('Diving', 'GolfSwing', 'HorseRiding', 'SkateBoarding')
class_map = {
    'Diving-Side': 'Diving',
    'Golf-Swing-Back': 'GolfSwing',
    'Golf-Swing-Front': 'GolfSwing',
    'Golf-Swing-Side': 'GolfSwing',
    'Riding-Horse': 'HorseRiding',
    'SkateBoarding-Front': 'SkateBoarding',
}
ucf_sports = dict(
    ann_file='ucf_sports.json', data_root='data/ucf_sports/', classes=classes, class_map=class_map
)
ucf101 = dict(ann_file='ucf101_24.json', data_root='data/ucf101_24/', classes=classes)

source_train = dict(_base_.source_train, **ucf_sports)
# which videos: by folder, as the target's labels are never read
target_train = dict(_base_.target_train, videos=[f'{name}/*' for name in classes], **ucf101)
# background frames count in the evaluation; labelled training never shows one
target_test = dict(_base_.target_test, background_frames=True, **ucf101)

train_dataloader = dict(dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file='data/ucf101_24/ucf101_24.json', classes=classes, background_frames=True
)
test_evaluator = val_evaluator
