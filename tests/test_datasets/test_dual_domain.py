import json

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, pseudo_collate
from torch.utils.data import DataLoader

from mmstal_da.datasets import ActionTubeDataset, Draw, DrawSampler, DualDomainDataset, SeededDraws
from mmstal_da.datasets import tube_dataset as tube_dataset_module
from mmstal_da.models.data_preprocessors import ClipKeyFramePreprocessor
from mmstal_da.registry import DATASETS
from tests.clips import write_dataset

PIPELINE = [
    dict(type='SampleKeyFrameClip', clip_len=4),
    dict(type='DecodeFrames'),
    dict(type='mmaction.RandomRescale', scale_range=(56, 72)),
    dict(type='mmaction.RandomCrop', size=48),
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='FilterBoxes'),
    dict(type='PackTubeInputs'),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Source: 2 videos, 20 key frames; target: 4 videos, 48 frames."""
    folder = tmp_path_factory.mktemp('pair')
    write_dataset(folder / 'source', ['a', 'b'], ['run', 'jump'])
    write_dataset(folder / 'target', ['c', 'd', 'e', 'f'], ['run', 'jump'], seed=1)
    return folder


def side(folder, name='annotation.json', **kwargs):
    # serialising collects garbage, a third of a second each time
    kwargs = dict(pipeline=PIPELINE) | kwargs
    return dict(
        type='ActionTubeDataset', ann_file=str(folder / name), data_prefix=str(folder),
        split='train', serialize_data=False, **kwargs,
    )  # fmt: skip


def pair(folder, **target):
    return DATASETS.build(
        dict(
            type='DualDomainDataset',
            source=side(folder / 'source'),
            target=side(folder / 'target', **target),
        )
    )


def contents(sample):
    """All that a data sample says, comparable."""
    fields = {key: sample.get(key) for key in sample.all_keys()}
    if 'gt_instances' in fields:
        instances = fields['gt_instances']
        fields['gt_instances'] = (instances.bboxes.tolist(), instances.labels.tolist())
    return fields


def same(first, second):
    """Whether two packed samples agree to the last bit."""
    pixels = torch.equal(first['inputs'], second['inputs'])
    return pixels and contents(first['data_samples']) == contents(second['data_samples'])


def test_one_item_is_a_labelled_and_an_unlabelled_sample(folder):
    item = pair(folder)[Draw(0, 0)]
    assert set(item) == {'source', 'target'}
    source, target = item['source']['data_samples'], item['target']['data_samples']
    assert source.domain == 0
    assert target.domain == 1
    assert source.gt_instances.labels.shape == source.gt_instances.bboxes.shape[:1]
    # nothing but metainfo, and of that nothing about labels
    assert set(target.all_keys()) == set(target.metainfo_keys()) == {
        'video_name', 'key_frame', 'key_index', 'img_shape', 'ori_shape', 'scale_factor', 'flip',
        'domain',
    }  # fmt: skip


def test_a_batch(folder):
    dataset = pair(folder)
    loader = DataLoader(dataset, 3, sampler=DrawSampler(dataset, seed=0), collate_fn=pseudo_collate)
    batch = next(iter(loader))
    for part in ('source', 'target'):
        assert len(batch[part]['inputs']) == len(batch[part]['data_samples']) == 3
        assert batch[part]['inputs'][0].dtype == torch.uint8


def test_either_side_may_be_the_longer(folder):
    dataset = pair(folder)
    assert (*map(len, dataset.parts.values()), len(dataset)) == (20, 48, 48)
    swapped = DualDomainDataset(side(folder / 'target'), side(folder / 'source'))
    assert (*map(len, swapped.parts.values()), len(swapped)) == (40, 24, 40)

    def seen(dataset, part, count):
        return [
            (sample.video_name, sample.key_frame)
            for sample in (dataset[Draw(1, n)][part]['data_samples'] for n in range(count))
        ]

    source, target = (seen(dataset, part, 48) for part in ('source', 'target'))
    assert len(set(source[:20])) == len(set(source[20:40])) == 20
    assert source[:20] != source[20:40]
    assert len(set(target)) == 48


def test_a_source_only_run_sees_the_same_source_clips(folder):
    dataset, alone = pair(folder), SeededDraws(side(folder / 'source'))
    for number in range(5):
        with_target = dataset[Draw(3, number)]['source']
        del with_target['data_samples'].domain
        assert same(with_target, alone[Draw(3, number)])


def changed_labels(raw):
    for tubes in raw['tubes'].values():
        for tube in tubes:
            tube['label'] = 'run'
            tube['frames'] = tube['frames'][:2]
            tube['boxes'] = [[0, 0, 3, 3], [1, 1, 4, 4]]


def no_labels(raw):
    del raw['tubes']


def broken_labels(raw):
    raw['tubes'] = {'nobody': [{'label': 7}]}


@pytest.mark.slow
@pytest.mark.parametrize('spoil', [changed_labels, no_labels, broken_labels])
@pytest.mark.parametrize('target', [{}, dict(labelled=True), dict(classes=['run', 'jump'])])
def test_the_targets_labels_influence_nothing(folder, spoil, target):
    raw = json.loads((folder / 'target/annotation.json').read_text())
    spoil(raw)
    (folder / 'target/other.json').write_text(json.dumps(raw))
    original, other = pair(folder, **target), pair(folder, name='other.json', **target)
    assert len(original) == len(other)
    for number in range(0, 60, 7):
        first, second = original[Draw(2, number)], other[Draw(2, number)]
        assert same(first['source'], second['source'])
        assert same(first['target'], second['target'])


def test_the_targets_tubes_are_never_read(folder, monkeypatch):
    asked = []
    load = tube_dataset_module.load_annotation

    def spy(path, with_tubes=True):
        asked.append(('target' in str(path), with_tubes))
        return load(path, with_tubes)

    monkeypatch.setattr(tube_dataset_module, 'load_annotation', spy)
    pair(folder)
    assert asked == [(False, True), (True, False)] or asked == [(True, False), (False, True)]


def test_a_target_that_was_built_with_labels_is_refused(folder):
    built = DATASETS.build(side(folder / 'target'))
    with pytest.raises(ValueError, match='labelled=False'):
        DualDomainDataset(side(folder / 'source'), built)
    unlabelled = DATASETS.build(side(folder / 'target', labelled=False))
    assert len(DualDomainDataset(side(folder / 'source'), unlabelled)) == 48
    with pytest.raises(TypeError, match='BaseDataset'):
        DualDomainDataset(side(folder / 'source'), ConcatDataset([unlabelled]))


def test_other_classes_on_the_target_are_an_error(folder):
    with pytest.raises(ValueError, match=r"\('run', 'jump'\) and \('jump', 'run'\)"):
        pair(folder, classes=['jump', 'run'])
    assert pair(folder).metainfo['classes'] == ('run', 'jump')


@pytest.mark.slow
def test_the_stream_does_not_depend_on_the_number_of_workers(folder):
    def stream(workers):
        dataset = pair(folder)
        loader = DataLoader(
            dataset, 2, sampler=DrawSampler(dataset, seed=4), num_workers=workers,
            collate_fn=pseudo_collate,
        )  # fmt: skip
        batches = iter(loader)
        return [next(batches) for _ in range(4)]

    expected = stream(0)
    for workers in (1, 2):
        for batch, other in zip(expected, stream(workers), strict=True):
            for part in ('source', 'target'):
                for index in range(2):
                    first, second = (
                        {key: b[part][key][index] for key in ('inputs', 'data_samples')}
                        for b in (batch, other)
                    )
                    assert same(first, second)


@pytest.mark.slow
def test_a_stock_mmaction2_target_loses_its_labels_before_its_pipeline(folder, tmp_path):
    """MMAction2's VideoDataset, whose list file has a class number for each video."""
    import mmaction.datasets  # noqa: F401 (registers it)

    seen = []

    class Spy:
        def __call__(self, results):
            seen.append(set(results))
            return results

    videos = [f'{folder}/target/{name}.mkv' for name in 'cdef']
    (tmp_path / 'list.txt').write_text(''.join(f'{v} {n}\n' for n, v in enumerate(videos)))
    target = dict(
        type='mmaction.VideoDataset', ann_file=str(tmp_path / 'list.txt'),
        pipeline=[
            Spy(),
            dict(type='mmaction.DecordInit'),
            dict(type='mmaction.SampleFrames', clip_len=4, frame_interval=1, num_clips=1),
            dict(type='mmaction.DecordDecode'),
            dict(type='mmaction.FormatShape', input_format='NCTHW'),
            dict(type='mmaction.PackActionInputs'),
        ],
    )  # fmt: skip
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmstal_da'):
        dataset = DualDomainDataset(side(folder / 'source'), target)
        item = dataset[Draw(0, 0)]['target']
    assert 'filename' in seen[0]
    assert not seen[0] & {'label', 'gt_bboxes', 'gt_labels'}
    assert item['inputs'].shape == (1, 3, 4, 48, 64)
    assert set(item['data_samples'].all_keys()) == {'img_shape', 'domain'}
    # the same dataset alone has the label
    with DefaultScope.overwrite_default_scope('mmstal_da'):
        assert 'gt_label' in DATASETS.build(target)[0]['data_samples']


def test_a_label_that_a_transform_smuggles_in_is_stripped(folder):
    class Smuggle:
        def __call__(self, packed):
            packed['data_samples'].set_gt_label(1)
            packed['data_samples'].set_metainfo(dict(label=1))
            packed['label'] = np.array(1)
            return packed

    dataset = pair(folder, indices=4)
    dataset.parts['target'].dataset.dataset.pipeline.transforms.append(Smuggle())
    target = dataset[Draw(0, 0)]['target']
    assert set(target) == {'inputs', 'data_samples'}
    assert not {'gt_label', 'label'} & set(target['data_samples'].all_keys())


def test_a_built_source_may_be_given(folder):
    source = ActionTubeDataset(
        **{key: value for key, value in side(folder / 'source').items() if key != 'type'}
    )
    assert len(DualDomainDataset(source, side(folder / 'target'))) == 48


def test_what_is_trained_on(folder):
    """Each side draws what it draws alone; only the values that say so read the target's labels."""
    sides = dict(source=side(folder / 'source'), target=side(folder / 'target', labelled=False))
    source = SeededDraws(side(folder / 'source'))
    target = SeededDraws(side(folder / 'target'))
    second = SeededDraws(side(folder / 'target'), side=1)
    alone = DualDomainDataset(**sides, train_on='source')
    oracle = DualDomainDataset(**sides, train_on='labelled_target')
    both = DualDomainDataset(**sides, train_on='source_and_labelled_target')
    assert (len(alone), len(oracle), len(both)) == (20, 40, 40)
    for number in (0, 7, 45):
        draw = Draw(3, number)
        item = both[draw]
        assert set(item) == {'source', 'labelled_target'}
        for found, expected in (
            (alone[draw], source[draw]),
            (oracle[draw], target[draw]),
            (item['source'], source[draw]),
            (item['labelled_target'], second[draw]),
        ):
            expected['data_samples'].set_metainfo(dict(domain=0))
            assert same(found, expected)
            assert 'gt_instances' in found['data_samples']


def test_the_target_alone_is_drawn_as_beside_a_source_and_has_no_labels(folder):
    absent, target = side(folder / 'absent'), side(folder / 'target')
    alone, both = DualDomainDataset(absent, target, 'target'), pair(folder)
    assert len(alone) == 48
    for number in (0, 7, 45):
        item = alone[Draw(3, number)]
        assert set(item) == {'target'}
        assert same(item['target'], both[Draw(3, number)]['target'])
        assert 'gt_instances' not in item['target']['data_samples']


@pytest.mark.parametrize('strong', [True, False])
def test_a_target_may_keep_its_weak_view(folder, strong):
    """Both views are the same crop; without augmentation they are the same pixels."""
    augment = dict(type='AugmentClip', prob=float(strong), brightness=1.0)
    two_views = [*PIPELINE[:-1], dict(type='KeepWeakView'), augment, PIPELINE[-1]]
    dataset, plain = pair(folder, pipeline=two_views), pair(folder)
    item, other = dataset[Draw(3, 1)], plain[Draw(3, 1)]
    assert set(item['target']) == {'inputs', 'weak_inputs', 'data_samples'}
    assert same(item['source'], other['source'])
    # the same clip as of the pipeline without either
    assert torch.equal(item['target']['weak_inputs'], other['target']['inputs'])
    assert torch.equal(item['target']['inputs'], other['target']['inputs']) is not strong
    assert contents(item['target']['data_samples']) == contents(other['target']['data_samples'])
    loader = DataLoader(dataset, 2, sampler=DrawSampler(dataset, seed=0), collate_fn=pseudo_collate)
    batch = next(iter(loader))
    assert [x.shape for x in batch['target']['weak_inputs']] == [(3, 4, 48, 48)] * 2


@pytest.mark.parametrize('late', ['mmaction.Flip', 'mmaction.Resize', 'mmaction.RandomCrop'])
def test_what_moves_pixels_between_the_views_is_refused(folder, late):
    moving = {
        'mmaction.Flip': dict(flip_ratio=1.0),
        'mmaction.Resize': dict(scale=(40, 40), keep_ratio=False),
        'mmaction.RandomCrop': dict(size=40),
    }[late]
    first = [stage for stage in PIPELINE[:-1] if stage['type'] != 'mmaction.Flip']
    stages = [*first, dict(type='KeepWeakView'), dict(moving, type=late), PIPELINE[-1]]
    with pytest.raises(ValueError, match='frame .* changed after KeepWeakView'):
        pair(folder, pipeline=stages)[Draw(3, 1)]


def test_what_is_left_out_is_not_built(folder):
    absent = side(folder / 'absent')
    assert len(DualDomainDataset(side(folder / 'source'), absent, train_on='source')) == 20
    assert len(DualDomainDataset(absent, side(folder / 'target'), 'labelled_target')) == 40


def test_an_unknown_train_on_is_refused(folder):
    with pytest.raises(ValueError, match="train_on is one of both, source, .*not 'oracle'"):
        DualDomainDataset(side(folder / 'source'), side(folder / 'target'), train_on='oracle')


def test_a_target_built_without_labels_is_no_labelled_target(folder):
    built = DATASETS.build(side(folder / 'target', labelled=False))
    with pytest.raises(ValueError, match='build it with `labelled=True`, or give its config'):
        DualDomainDataset(side(folder / 'source'), built, train_on='labelled_target')


BOXES = 'source_and_target_boxes'


def with_boxes(folder, **target):
    return DualDomainDataset(side(folder / 'source'), side(folder / 'target', **target), BOXES)


def test_boxes_may_be_known_without_their_classes(folder):
    """The boxes of the same draw with labels; the crop may have cut some away."""
    sides = side(folder / 'source'), side(folder / 'target')
    both, found = DualDomainDataset(*sides, 'source_and_labelled_target'), with_boxes(folder)
    assert len(found) == len(both) == 40
    counts, seen = [], set()

    def spy(results):
        seen.update(results['gt_labels'].tolist())
        return results

    found.parts['boxed_target'].dataset.dataset.pipeline.transforms.insert(0, spy)
    for number in range(0, 40, 5):
        labelled, item = both[Draw(3, number)]['labelled_target'], found[Draw(3, number)]
        assert set(item) == {'source', 'boxed_target'}
        sample = item['boxed_target']['data_samples']
        boxes = sample.proposals.bboxes
        assert torch.equal(boxes, labelled['data_samples'].gt_instances.bboxes)
        assert torch.equal(item['boxed_target']['inputs'], labelled['inputs'])
        assert sample.domain == 1
        assert set(sample.all_keys()) - set(sample.metainfo_keys()) == {'proposals'}
        assert set(sample.proposals.keys()) == {'bboxes'}
        counts.append(len(boxes))
    assert min(counts) == 0 < max(counts)
    assert seen == {-1}  # no transform sees a class


@pytest.mark.slow
def test_the_classes_of_known_boxes_influence_nothing(folder):
    raw = json.loads((folder / 'target/annotation.json').read_text())
    for number, tubes in enumerate(raw['tubes'].values()):
        for tube in tubes:
            tube['label'] = ('run', 'jump')[number % 2 == 0]
    (folder / 'target/classes.json').write_text(json.dumps(raw))
    first, second = with_boxes(folder), with_boxes(folder, name='classes.json')
    for number in range(0, 40, 7):
        items = [dataset[Draw(2, number)] for dataset in (first, second)]
        samples = [item['boxed_target']['data_samples'] for item in items]
        assert torch.equal(*(item['boxed_target']['inputs'] for item in items))
        assert torch.equal(*(sample.proposals.bboxes for sample in samples))
        assert all('gt_instances' not in sample for sample in samples)
    labels = [
        [info['gt_labels'].tolist() for info in map(part.dataset.dataset.get_data_info, range(24))]
        for part in (first.parts['boxed_target'], second.parts['boxed_target'])
    ]
    assert labels[0] != labels[1]


def test_known_boxes_are_a_persons_and_have_one_class(folder):
    unlabelled = DATASETS.build(side(folder / 'target', labelled=False))
    with pytest.raises(ValueError, match='built with .*labelled=False'):
        DualDomainDataset(side(folder / 'source'), unlabelled, BOXES)
    with pytest.raises(ValueError, match='multi_label=False'):
        with_boxes(folder, multi_label=True)


def test_a_batch_may_have_more_clips_of_the_target(folder):
    """The source's draws stay; the target's are the next ones of its stream."""
    dataset, alone = pair(folder), pair(folder)
    dataset.target_clips = 2
    loader = DataLoader(dataset, 3, sampler=DrawSampler(dataset, seed=5), collate_fn=pseudo_collate)
    batch = next(iter(loader))
    for number in range(3):
        source = alone[Draw(5, number)]['source']
        found = {key: batch['source'][key][number] for key in ('inputs', 'data_samples')}
        assert same(found, source)
        for extra in range(2):
            target = alone[Draw(5, 2 * number + extra)]['target']
            found = {k: batch['target'][k][extra][number] for k in ('inputs', 'data_samples')}
            assert same(found, target)
    data = ClipKeyFramePreprocessor()(batch, True)
    assert data['inputs']['clip'].shape[0] == 9
    assert [sample.domain for sample in data['data_samples']] == [0] * 3 + [1] * 6
    with pytest.raises(ValueError, match='target_clips is'):
        DualDomainDataset(side(folder / 'source'), side(folder / 'target'), target_clips=0)
