# What pairs of datasets share: clips at the paper's size, loaders, the evaluator. A child names the files and classes
# (see ../../README.md); this file alone is not a pair.
clip = dict(type='SampleKeyFrameClip', clip_len=20, frame_interval=1)  # [derived]
decode = dict(type='DecodeFrames')
resize = dict(type='mmaction.Resize', scale=(-1, 256), keep_ratio=True)  # short side 256
flip = dict(type='mmaction.Flip', flip_ratio=0.5)
pack = dict(type='PackTubeInputs')
train_pipeline = [clip, decode, resize, flip, pack]
test_pipeline = [clip, decode, resize, pack]

source = dict(type='ActionTubeDataset', split='train', data_prefix='videos', pipeline=train_pipeline)
target = dict(source, labelled=False)  # tubes of the target are never read
test = dict(source, split='test', test_mode=True, pipeline=test_pipeline)

loader = dict(num_workers=4, persistent_workers=True, collate_fn=dict(type='pseudo_collate'))
train_dataloader = dict(
    **loader,
    batch_size=1,  # clips per domain
    sampler=dict(type='DrawSampler'),
    dataset=dict(type='DualDomainDataset', source=source, target=target),
)
val_dataloader = test_dataloader = dict(
    **loader,
    batch_size=4,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=test,
)
val_evaluator = test_evaluator = dict(type='TubeMetric', split='test')

# The check of the config (mmstal_da/launch/checks.py) allows these only if they are set:
allow_transductive = False  # evaluation on the videos that were adapted on, without labels
allow_classes_without_truth = ()  # classes without a tube in the evaluated split
# for rows pseudo*: `train_dataloader = _base_.pseudo`; the file is one of tools/data/pseudo_tubes.py
pseudo_target = dict(ann_file='target_pseudo.json', class_map=None, background_share=0.3)
pseudo = dict(dataset=dict(train_on='source_and_pseudo', target=pseudo_target))
