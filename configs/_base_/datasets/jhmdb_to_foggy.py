# JHMDB as it is -> other films of JHMDB in fog, dim light and noise. Ten classes: those that the
# detector does best with labels at 112 px (../../jhmdb_split1).
_base_ = './jhmdb_pair_112px.py'

classes = (
    'brush_hair',
    'clap',
    'climb_stairs',
    'golf',
    'pick',
    'pour',
    'pullup',
    'push',
    'shoot_bow',
    'swing_baseball',
)

# a fixed look per video; most of all noise, which hides least from a network trained on it
fog = dict(type='DegradeFrames', fog=0.3, low_light=0.5, noise=2.0, seed=0)
foggy_train_pipeline = [*_base_.decode, fog, *_base_.augment]
foggy_test_pipeline = [*_base_.decode, fog, _base_.resize, dict(type='PackTubeInputs')]

pair = dict(ann_file='foggy.json', data_root='data/jhmdb/', classes=classes)
source_train = dict(
    _base_.source_train, split='source_train', pipeline=_base_.train_pipeline, **pair
)
target_train = dict(
    _base_.target_train,
    split='target_train',
    # by folder, as the target's labels are never read
    videos=[f'{name}/*' for name in classes],
    pipeline=foggy_train_pipeline,
    **pair,
)
target_test = dict(
    _base_.target_test,
    split='target_test',
    background_frames=True,
    pipeline=foggy_test_pipeline,
    **pair,
)

train_dataloader = dict(dataset=dict(source=source_train, target=target_train))
val_dataloader = dict(dataset=target_test)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/jhmdb/foggy.json', split='target_test', classes=classes)
test_evaluator = val_evaluator
