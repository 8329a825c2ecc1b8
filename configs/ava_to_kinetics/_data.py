# AVA -> the Kinetics part of AVA-Kinetics: DA-AIM's six classes, several per box, a labelled frame
# per second (AVA) or per clip (Kinetics).
_base_ = ['../_base_/datasets/pair_256px.py', '../_base_/schedules/paper.py', '../_base_/default_runtime.py']
classes = ('bend/bow (at the waist)', 'lie/sleep', 'run/jog', 'sit', 'stand', 'walk')
clip = dict(type='SampleKeyFrameClip', clip_len=20, frame_interval=3)  # 2 s, as AVA's 32 x 2
train_pipeline = [clip, *_base_.train_pipeline[1:]]
test_pipeline = [clip, *_base_.test_pipeline[1:]]
of_ava = dict(ann_file='ava.json', data_root='data/ava/', classes=classes, multi_label=True)
of_kinetics = dict(of_ava, ann_file='kinetics.json', data_root='data/ava_kinetics/')
ava = dict(of_ava, pipeline=train_pipeline)
kinetics = dict(of_kinetics, pipeline=train_pipeline)
train_dataloader = dict(dataset=dict(source=ava, target=kinetics))
evaluated = dict(split='val', background_frames=False, pipeline=test_pipeline, **of_kinetics)
val_dataloader = test_dataloader = dict(dataset=evaluated)
val_evaluator = test_evaluator = dict(
    ann_file='data/ava_kinetics/kinetics.json',
    split='val',
    classes=classes,
    background_frames=False,
    ava=True,  # AVA's frame-mAP
    # tubes of one labelled frame per second
    max_gap=31,
    min_length=1,
)
