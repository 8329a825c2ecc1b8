"""ACT's pickles: what they mean, real ones, and exact round trips."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings

from mmstal_da.errors import AnnotationError
from mmstal_da.evaluation.functional.ground_truth import parse_ground_truth
from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.converters.act import from_act, save_act, to_act
from mmstal_da.tubes.converters.sources import read_source
from mmstal_da.utils.safe_pickle import load_pickle
from tests.annotations import annotations

ROWS = np.array([[3, 10, 20, 320, 240], [4, 11.5, 20, 300, 200]], np.float32)


def made_elsewhere(**changes) -> dict:
    return {
        'labels': ['walk', 'golf'],
        'train_videos': [['golf/a'], ['golf/b']],
        'test_videos': [['golf/b'], ['golf/a']],
        'nframes': {'golf/a': 10, 'golf/b': 20},
        'resolution': {'golf/a': (240, 320), 'golf/b': (480, 640)},
        'gttubes': {'golf/a': {1: [ROWS, ROWS[:1]], 0: [ROWS[1:]]}, 'golf/b': {0: [ROWS]}},
        **changes,
    }


def write(path, raw):
    path.write_bytes(pickle.dumps(raw, protocol=2))
    return path


def test_boxes_are_taken_over_verbatim(tmp_path):
    annotation = from_act(write(tmp_path / 'x.pkl', made_elsewhere()))
    assert annotation.classes == ['walk', 'golf']
    first, second, third = annotation.tubes['golf/a']
    assert (first.label, second.label, third.label) == ('golf', 'golf', 'walk')
    assert first.frames.tolist() == [3, 4]
    assert np.array_equal(first.boxes, ROWS[:, 1:])  # 320 of a width of 320, as it stands there
    assert annotation.videos['golf/b'] == Video('golf/b.avi', 20, 640, 480)
    assert annotation.splits == {
        'train': ['golf/a'], 'test': ['golf/b'], 'train2': ['golf/b'], 'test2': ['golf/a'],
    }  # fmt: skip


@pytest.mark.parametrize('dataset, image', [
    ('ucf101_24', '00007.jpg'), ('jhmdb', '00007.png'), ('ucf_sports', '000007.jpg'),
])  # fmt: skip
def test_each_dataset_has_its_layout_of_frames(tmp_path, dataset, image):
    conversion = read_source(dataset, write(tmp_path / 'x.pkl', made_elsewhere()))
    video = conversion.annotation.videos['golf/a']
    assert (video.path, video.filename_tmpl.format(7)) == ('golf/a', image)
    assert conversion.annotation.dataset == dataset
    assert conversion.problems == []


def test_a_pickle_of_python_2_and_one_without_sizes(tmp_path):
    raw = made_elsewhere()
    del raw['resolution'], raw['train_videos']
    path = tmp_path / 'x.pkl'
    # bytes are what Python 2 calls strings
    path.write_bytes(pickle.dumps(raw, protocol=2, fix_imports=True))
    annotation = from_act(path)
    assert annotation.videos['golf/a'].width is None
    assert list(annotation.splits) == ['test', 'test2']


WRONG = {
    'label': (dict(gttubes={'golf/a': {2: [ROWS]}}), "'golf/a': label 2 is not below 2"),
    'shape': (dict(gttubes={'golf/a': {1: [ROWS[:, 1:]]}}), r"'golf/a', class 'golf', tube 0: sha"),
    'half frame': (dict(gttubes={'golf/a': {1: [ROWS + 0.5]}}), 'not a whole number'),
    'beyond': (dict(nframes={'golf/a': 3, 'golf/b': 9}), 'frame 4 is outside 1..3'),
    'unknown': (dict(test_videos=[['golf/c']]), 'golf/c'),
    'no length': (dict(nframes={'golf/a': 9}), 'golf/b'),
}


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    changes, message = WRONG[case]
    with pytest.raises(AnnotationError, match=message) as error:
        from_act(write(tmp_path / 'x.pkl', made_elsewhere(**changes)))
    assert 'x.pkl' in str(error.value)


def test_inverted_boxes_are_noted(tmp_path):
    rows = ROWS.copy()
    rows[1, [1, 3]] = rows[1, [3, 1]]
    path = write(tmp_path / 'x.pkl', made_elsewhere(gttubes={'golf/a': {1: [rows]}}))
    annotation = from_act(path, problems=(problems := []))
    assert annotation.tubes['golf/a'][0].frames.tolist() == [3]
    assert "'golf/a', frame 4: box 300 20 11.5 200 is inverted; left out" in str(problems[0])
    with pytest.raises(AnnotationError, match='inverted'):
        from_act(path)


def test_not_a_pickle_of_act(tmp_path):
    with pytest.raises(AnnotationError, match="give a ground-truth pickle in ACT's format"):
        read_source('act', write(tmp_path / 'x.pkl', {'a': 1}))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(annotation=annotations())
def test_a_round_trip_is_exact(tmp_path_factory, annotation):
    path = tmp_path_factory.getbasetemp() / 'round_trip.pkl'
    save_act(annotation, path)
    read = from_act(path)
    assert read == annotation
    assert list(read.videos) == list(annotation.videos)
    # also for whoever reads it without this project
    with open(path, 'rb') as file:
        raw = pickle.load(file)
    assert raw.keys() == to_act(annotation).keys()
    for name, tubes in annotation.tubes.items():
        for label, items in raw['gttubes'][name].items():
            mine = [t for t in tubes if t.label == annotation.classes[label]]
            assert len(mine) == len(items)
            for tube, rows in zip(mine, items, strict=True):
                assert rows.dtype == np.float32
                assert np.array_equal(rows, np.column_stack([tube.frames, tube.boxes]))


def test_tubes_of_mixed_classes_keep_their_order(tmp_path):
    box = np.zeros((1, 4), np.float32)
    labels = ['run', 'jump', 'run', 'jump', 'run']
    tubes = [Tube(label, np.array([n]), box + n) for n, label in enumerate(labels, 1)]
    annotation = Annotation('toy', ['jump', 'run'], {'v': Video('v.avi', 5)}, {}, {'v': tubes})
    save_act(annotation, tmp_path / 'x.pkl')
    assert from_act(tmp_path / 'x.pkl') == annotation


def equal(one, other) -> bool:
    """Equality of nested dicts and lists of arrays."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return np.array_equal(one, other)


def test_a_real_pickle_comes_back(test_data, tmp_path):
    path = test_data / 'act_format/multisports_one_video_gt.pkl'
    raw = load_pickle(path)
    annotation = from_act(path)
    assert len(annotation.tubes['aerobic_gymnastics/v_crsi07chcV8_c004']) == 8
    save_act(annotation, tmp_path / 'back.pkl')
    back = load_pickle(tmp_path / 'back.pkl')
    for key in raw:
        assert equal(back[key], raw[key]), key
    one, other = parse_ground_truth(raw), parse_ground_truth(back)
    assert (one.labels, one.videos) == (other.labels, other.videos)
    assert all(map(np.array_equal, one.rows(), other.rows()))


@pytest.mark.slow
def test_the_real_datasets_round_trip(test_data, tmp_path):
    for dataset, source in (
        ('ucf101_24', 'ucf101_24/pyannot.pkl'),
        ('jhmdb', 'jhmdb/jhmdb_annot.mat'),
        ('ucf_sports', 'ucf_sports/ucf_sports_annotations.tar.gz'),
    ):
        annotation = read_source(dataset, test_data / source).annotation
        annotation.splits['test'] = list(annotation.videos)
        save_act(annotation, tmp_path / 'x.pkl')
        assert read_source(dataset, tmp_path / 'x.pkl').annotation == annotation
        truth = parse_ground_truth(load_pickle(tmp_path / 'x.pkl'))
        assert len(truth.videos) == len(annotation.videos)
        assert len(truth.rows()[0]) == sum(
            len(tube.frames) for tubes in annotation.tubes.values() for tube in tubes
        )
