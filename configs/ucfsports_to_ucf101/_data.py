# UCF-Sports -> UCF101-24, four classes, untrimmed: every frame of a test video is evaluated.
_base_ = ['../_base_/datasets/pair_256px.py', '../_base_/schedules/paper.py', '../_base_/default_runtime.py']
classes = ('Diving', 'GolfSwing', 'HorseRiding', 'SkateBoarding')
class_map = {
    'Diving-Side': 'Diving',
    'Golf-Swing-Back': 'GolfSwing',
    'Golf-Swing-Front': 'GolfSwing',
    'Golf-Swing-Side': 'GolfSwing',
    'Riding-Horse': 'HorseRiding',
    'SkateBoarding-Front': 'SkateBoarding',
}
ucf_sports = dict(ann_file='ucf_sports.json', data_root='data/ucf_sports/', class_map=class_map)
ucf101 = dict(ann_file='ucf101_24.json', data_root='data/ucf101_24/', classes=classes)
# videos are chosen by folder, because the target's labels are never read
videos = [f'{name}/*' for name in classes]
train_dataloader = dict(dataset=dict(source=dict(classes=classes, **ucf_sports), target=dict(videos=videos, **ucf101)))
# background frames count in the evaluation; labelled training never shows one
val_dataloader = test_dataloader = dict(dataset=dict(background_frames=True, **ucf101))
val_evaluator = test_evaluator = dict(ann_file='data/ucf101_24/ucf101_24.json', classes=classes, background_frames=True)
