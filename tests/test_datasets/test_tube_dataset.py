import json

import numpy as np
import pytest
from mmengine.config import ConfigDict

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.registry import DATASETS
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from tests.clips import write_dataset

PIPELINE = [
    dict(type='SampleKeyFrameClip', clip_len=4),
    dict(type='DecodeFrames'),
    dict(type='PackTubeInputs'),
]


@pytest.fixture(scope='module')
def ann_file(tmp_path_factory):
    """Videos run/a, jump/b, run/c and jump/d of 12 frames; boxes from frame 3 on."""
    folder = tmp_path_factory.mktemp('tubes')
    return write_dataset(folder, ['run/a', 'jump/b', 'run/c', 'jump/d'], ['run', 'jump'])


def build(ann_file, **kwargs):
    # serialising collects garbage, a third of a second each time
    kwargs = {'split': 'train', 'serialize_data': False, **kwargs}
    return ActionTubeDataset(
        ann_file=ann_file.name, data_root=str(ann_file.parent), pipeline=PIPELINE, **kwargs
    )


def key_frames(dataset):
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    frames = {}
    for info in infos:
        frames.setdefault(info['video_name'], []).append(info['key_frame'])
    return frames


def test_training_takes_the_annotated_frames(ann_file):
    frames = key_frames(build(ann_file))
    assert frames == {name: list(range(3, 13)) for name in ('run/a', 'jump/b', 'run/c', 'jump/d')}


def test_other_classes_are_left_out(ann_file):
    dataset = build(ann_file, classes=['Running'], class_map=dict(run='Running'))
    assert dataset.metainfo['classes'] == ('Running',)
    assert set(key_frames(dataset)) == {'run/a', 'run/c'}
    assert build(ann_file, classes=['jump', 'run']).get_data_info(0)['gt_labels'].tolist() == [1]


def test_background_frames_at_test_only_and_of_videos_with_the_action(ann_file):
    dataset = build(ann_file, classes=['jump'], background_frames=True, test_mode=True)
    assert key_frames(dataset) == {name: list(range(1, 13)) for name in ('jump/b', 'jump/d')}
    info = dataset.get_data_info(0)
    assert info['gt_bboxes'].shape == (0, 4)
    assert len(dataset[0]['data_samples'].gt_instances.bboxes) == 0
    frames = key_frames(build(ann_file, classes=['jump'], test_mode=True))
    assert frames == {name: list(range(3, 13)) for name in ('jump/b', 'jump/d')}
    with pytest.raises(ValueError, match='set `background_share`'):
        build(ann_file, background_frames=True)


def test_background_is_a_share_of_the_training_frames(ann_file):
    """40 frames have a box, two of each video have none."""
    annotated = key_frames(build(ann_file))
    for share, expected in ((0.0, 0), (0.1, 4), (0.125, 6), (0.5, 8)):  # 40 s / (1 - s)
        dataset = build(ann_file, background_share=share)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        empty = [info for info in infos if len(info['gt_bboxes']) == 0]
        assert len(infos) - len(empty) == 40 and len(empty) == expected
        assert all(info['key_frame'] < 3 for info in empty)
        names = [info['video_name'] for info in empty]
        assert not names or max(map(names.count, annotated)) - min(map(names.count, annotated)) <= 1
    jump = build(ann_file, classes=['jump'], background_share=0.5)
    assert set(key_frames(jump)) == {'jump/b', 'jump/d'}
    for wrong in (dict(background_share=1.0), dict(background_share=0.2, test_mode=True),
                  dict(background_share=0.2, labelled=False)):  # fmt: skip
        with pytest.raises(ValueError, match='background_share'):
            build(ann_file, **wrong)


def test_every_so_many_th_key_frame_of_each_video(ann_file):
    assert key_frames(build(ann_file, key_frame_stride=4))['jump/d'] == [3, 7, 11]


@pytest.mark.slow
def test_an_item_is_what_the_file_says(ann_file):
    dataset = DATASETS.build(
        ConfigDict(
            type='ActionTubeDataset', ann_file=str(ann_file), split='train',
            data_prefix=str(ann_file.parent), pipeline=PIPELINE, videos=['run/c'],
        )
    )  # fmt: skip
    tube = load_annotation(ann_file).tubes['run/c'][0]
    assert len(dataset) == 10
    for index in (0, 9):
        info = dataset.get_data_info(index)
        assert info['filename'] == str(ann_file.parent / 'run/c.mkv')
        assert info['total_frames'] == 12
        assert (info['width'], info['height']) == (64, 48)
        assert info['gt_bboxes'].tolist() == [tube.boxes[index].tolist()]
        packed = dataset[index]
        image = packed['inputs'][:, packed['data_samples'].key_index].numpy()  # (3, H, W)
        x1, y1, x2, y2 = tube.boxes[index].astype(int)
        assert (image[0, y1 : y2 + 1, x1 : x2 + 1] > 250).all()
        assert (image[0] > 250).sum() == (x2 - x1 + 1) * (y2 - y1 + 1)


def test_two_actors_in_one_frame(ann_file, tmp_path):
    annotation = load_annotation(ann_file)
    tube = annotation.tubes['run/a'][0]
    annotation.tubes['run/a'].append(type(tube)('jump', np.array([5, 6]), tube.boxes[:2] + 1))
    save_annotation(annotation, tmp_path / 'two.json')
    dataset = build(tmp_path / 'two.json', videos=['run/a'])
    assert [len(dataset.get_data_info(i)['gt_bboxes']) for i in range(4)] == [1, 1, 2, 2]
    assert dataset.get_data_info(2)['gt_labels'].tolist() == [0, 1]


def test_unlabelled_takes_every_frame_and_never_looks_at_tubes(ann_file, tmp_path):
    raw = json.loads(ann_file.read_text())
    raw['tubes'] = 'not even a dict'
    (tmp_path / 'a.json').write_text(json.dumps(raw))
    dataset = build(tmp_path / 'a.json', labelled=False, classes=['x', 'y'], videos=['run/*'])
    assert key_frames(dataset) == {name: list(range(1, 13)) for name in ('run/a', 'run/c')}
    assert not {'gt_bboxes', 'gt_labels'} & set(dataset.get_data_info(0))
    assert dataset.metainfo['classes'] == ('x', 'y')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(split='val'), "no split 'val'"),
        (dict(videos=['walk/*']), r"'walk/\*' matches no video"),
        (dict(classes=['run', 'fly']), r"maps to \['fly'\]"),
        (dict(classes=['run'], videos=['jump/*']), r"'train' gives no key frame .*\['run'\]"),
        (dict(key_frame_stride=0), 'key_frame_stride'),
    ],
)
def test_choices_that_leave_nothing_are_errors(ann_file, change, message):
    with pytest.raises(ValueError, match=message):
        build(ann_file, **change)


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        build(tmp_path / 'nowhere.json')


@pytest.mark.slow
def test_building_leaves_the_random_state_alone(ann_file):
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    jitter = [dict(type='mmaction.ColorJitter', hue=0.0)]
    first, second = (
        ActionTubeDataset(str(ann_file), 'train', pipeline=jitter).pipeline.transforms[0].fn_idx
        for _ in range(2)
    )
    assert np.random.rand() == expected
    assert (first == second).all()


@pytest.mark.slow
def test_real_clips_of_every_container(test_data, tmp_path):
    from mmstal_da.tubes.converters.common import locate_videos
    from mmstal_da.tubes.converters.ucf101_24 import from_pyannot

    folder = test_data / 'ucf101_24'
    annotation = locate_videos(from_pyannot(folder / 'pyannot.pkl'), folder / 'videos', True)
    annotation.splits['all'] = list(annotation.videos)
    save_annotation(annotation, tmp_path / 'ucf.json')
    dataset = ActionTubeDataset(
        str(tmp_path / 'ucf.json'), 'all', PIPELINE, data_prefix=str(folder / 'videos'),
        key_frame_stride=1000,
    )  # fmt: skip
    assert len(dataset) == 17
    scales = set()
    for index, video in enumerate(annotation.videos.values()):
        packed = dataset[index]
        sample = packed['data_samples']
        scales.add((video.path[-4:], sample.img_shape, tuple(np.round(sample.scale_factor, 4))))
        assert sample.ori_shape == (240, 320)
        height, width = packed['inputs'].shape[2:]
        boxes = sample.gt_instances.bboxes
        assert (boxes[:, 2] < width).all()
        assert (boxes[:, 3] < height).all()
    assert scales == {
        ('.avi', (240, 320), (1.0, 1.0)),
        ('.gif', (240, 320), (1.0, 1.0)),
        ('.mp4', (256, 340), (1.0625, 1.0667)),
    }
