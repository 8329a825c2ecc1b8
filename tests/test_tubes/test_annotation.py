import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.datasets.transforms import DecodeFrames, SampleKeyFrameClip
from mmstal_da.datasets.tube_dataset import ActionTubeDataset
from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, Video, load_annotation, save_annotation
from mmstal_da.tubes.evaluated import load_ground_truth
from mmstal_da.visualization.overlays import Overlay
from mmstal_da.visualization.render import render_video
from tests.clips import write_dataset

RAW = {
    'format': 'mmstal_da.tubes',
    'version': 1,
    'dataset': 'toy',
    'classes': ['run', 'jump'],
    'videos': {
        'a': {'path': 'a.avi', 'num_frames': 10, 'width': 64, 'height': 48},
        'b': {'path': 'b', 'num_frames': 5, 'width': 64, 'height': 48, 'fps': 25,
              'filename_tmpl': '{:05d}.png'},
    },
    'splits': {'train': ['a'], 'test': ['b']},
    'tubes': {'a': [{'label': 'run', 'frames': [2, 3, 5],
                     'boxes': [[1, 2, 3, 4], [1.5, 2, 3.25, 4], [0, 0, 0, 0]]}]},
}  # fmt: skip


def write(path, raw):
    path.write_text(json.dumps(raw))
    return path


def test_reads_what_the_file_says(tmp_path):
    annotation = load_annotation(write(tmp_path / 'toy.json', RAW))
    assert annotation.classes == ['run', 'jump']
    assert annotation.videos['a'] == Video('a.avi', 10, 64, 48)
    assert annotation.videos['b'].filename_tmpl == '{:05d}.png'
    assert annotation.split('test') == ['b']
    tube = annotation.tubes['a'][0]
    assert tube.label == 'run'
    assert tube.frames.tolist() == [2, 3, 5]
    assert tube.boxes.dtype == np.float32
    assert tube.boxes.tolist() == RAW['tubes']['a'][0]['boxes']
    with pytest.raises(AnnotationError, match=r"no split 'val'.*'test', 'train'"):
        annotation.split('val')


def test_unlabelled_reading_leaves_tubes_out_however_broken(tmp_path):
    broken = {**RAW, 'tubes': {'nobody': 'nothing'}}
    path = write(tmp_path / 'toy.json', broken)
    assert load_annotation(path, with_tubes=False).tubes == {}
    with pytest.raises(AnnotationError):
        load_annotation(path)
    without = {key: value for key, value in RAW.items() if key != 'tubes'}
    assert load_annotation(write(tmp_path / 'toy.json', without)).tubes == {}


boxes = st.lists(
    st.tuples(*[st.floats(-50, 400, width=32)] * 4).map(
        lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(boxes=boxes, whole=st.booleans(), name=st.text(min_size=1))
def test_a_round_trip_is_exact(tmp_path_factory, boxes, whole, name):
    boxes = np.array(boxes, np.float32)
    if whole:
        boxes = boxes.round()
    frames = np.arange(1, len(boxes) + 1) * 2
    annotation = Annotation(
        'toy', ['run'], {name: Video('a.avi', 12, 64, 48, fps=29.97)}, {'x': [name]},
        {name: [Tube('run', frames, boxes)]},
    )  # fmt: skip
    path = tmp_path_factory.getbasetemp() / 'round_trip.json'
    save_annotation(annotation, path)
    read = load_annotation(path)
    assert read.videos == annotation.videos
    assert read.splits == annotation.splits
    assert np.array_equal(read.tubes[name][0].boxes, boxes)
    assert np.array_equal(read.tubes[name][0].frames, frames)
    text = path.read_bytes()
    save_annotation(read, path)
    assert path.read_bytes() == text


def change(**tube):
    def apply(raw):
        raw['tubes']['a'][0].update(tube)

    return apply


def change_video(**video):
    return lambda raw: raw['videos']['a'].update(video)


WRONG = {
    'format': (lambda raw: raw.update(format='coco'), 'prepare.py'),
    'version': (lambda raw: raw.update(version=2), 'version 2'),
    'missing key': (lambda raw: raw.pop('classes'), r"lacks \['classes'\]"),
    'unknown key': (lambda raw: raw.update(tube={}), r"unknown \['tube'\]"),
    'class twice': (lambda raw: raw.update(classes=['run', 'run']), 'twice'),
    'split': (lambda raw: raw['splits'].update(train=['c']), r"'train' .*\['c'\]"),
    'split twice': (lambda raw: raw['splits'].update(train=['a', 'a']), r"twice: \['a'\]"),
    'video key': (change_video(frames=3), r"video 'a': unknown \['frames'\]"),
    'no frames': (change_video(num_frames=0), 'video \'a\': "num_frames"'),
    'size': (change_video(width='64'), 'video \'a\': "width"'),
    'half a size': (lambda raw: raw['videos']['a'].pop('width'), '"width" and "height" are given'),
    'template': (change_video(filename_tmpl='img.jpg'), 'video \'a\': "filename_tmpl"'),
    'tubes of nobody': (lambda raw: raw['tubes'].update(c=[]), "video 'c'"),
    'label': (change(label='fly'), r"toy.json: video 'a', tube 0: label 'fly'"),
    'frame 0': (change(frames=[0, 1, 2]), r"video 'a', tube 0: frame 0 is outside 1..10"),
    'frame 11': (change(frames=[2, 3, 11]), 'frame 11 is outside 1..10'),
    'order': (change(frames=[2, 5, 3]), 'frame 3 follows frame 5'),
    'repeat': (change(frames=[2, 3, 3]), 'frame 3 follows frame 3'),
    'float frames': (change(frames=[2.0, 3.0, 4.0]), 'list of integers'),
    'too few boxes': (change(boxes=[[1, 2, 3, 4]]), r'3 frames, .*\(1, 4\)'),
    'ragged': (change(boxes=[[1, 2, 3, 4], [1, 2], [1, 2, 3, 4]]), 'ragged'),
    'inverted': (change(boxes=[[1, 2, 3, 4], [9, 2, 3, 4], [1, 2, 3, 4]]), 'tube 0, frame 3: '),
    'nan': (change(boxes=[[1, 2, 3, 4]] * 2 + [[1, 2, float('nan'), 4]]), 'frame 5: '),
}


@pytest.mark.parametrize('case', WRONG)
def test_mistakes_are_named(tmp_path, case):
    raw = json.loads(json.dumps(RAW))
    spoil, message = WRONG[case]
    spoil(raw)
    with pytest.raises(AnnotationError, match=message) as error:
        load_annotation(write(tmp_path / 'toy.json', raw))
    assert 'toy.json' in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='ann_file'):
        load_annotation(tmp_path / 'missing.json')
    (tmp_path / 'text.json').write_text('not json')
    with pytest.raises(AnnotationError, match=r'text\.json: not JSON'):
        load_annotation(tmp_path / 'text.json')


def test_nothing_wrong_is_ever_written(tmp_path):
    annotation = load_annotation(write(tmp_path / 'toy.json', RAW))
    annotation.tubes['a'][0].frames[0] = 7
    with pytest.raises(AnnotationError, match='frame 3 follows frame 7'):
        save_annotation(annotation, tmp_path / 'new.json')
    assert not (tmp_path / 'new.json').exists()


def without_size(tmp_path):
    """A dataset of one red rectangle whose annotation says no size, and its video."""
    path = write_dataset(tmp_path, ['a'], ['run'], num_frames=6)
    annotation = load_annotation(path)
    annotation.videos['a'].width = annotation.videos['a'].height = None
    save_annotation(annotation, path)
    return load_annotation(path), path


def test_a_size_may_be_left_out(tmp_path):
    annotation, path = without_size(tmp_path)
    assert (annotation.videos['a'].width, annotation.videos['a'].height) == (None, None)
    assert '"width"' not in path.read_text()
    assert annotation == load_annotation(path)
    assert load_ground_truth(path, 'train')['resolution'] == {'a': (None, None)}


def test_boxes_without_a_size_refer_to_the_decoded_video(tmp_path):
    annotation, path = without_size(tmp_path)
    stages = [SampleKeyFrameClip(clip_len=1), DecodeFrames()]
    sample = ActionTubeDataset(str(path), 'train', stages, data_prefix=str(tmp_path))[0]
    assert sample['img_shape'] == sample['original_shape'] == (48, 64)
    assert sample['scale_factor'].tolist() == [1, 1]
    x1, y1, x2, y2 = annotation.tubes['a'][0].boxes[0].astype(int)
    red = (sample['imgs'][0].astype(int) - [255, 0, 0]).__abs__().max(2) < 40
    ys, xs = np.nonzero(red)
    assert [xs.min(), ys.min(), xs.max(), ys.max()] == [x1, y1, x2, y2]
    assert sample['gt_bboxes'][0].tolist() == [x1, y1, x2 + 1, y2 + 1]
    tube = annotation.tubes['a'][0]
    truth = {
        int(n): [Overlay(tuple(b), 'run')] for n, b in zip(tube.frames, tube.boxes, strict=True)
    }
    sized = replace(annotation.videos['a'], width=64, height=48)
    shown = render_video(annotation.videos['a'], tmp_path, {}, truth, ['run'])
    assert np.array_equal(shown, render_video(sized, tmp_path, {}, truth, ['run']))


def test_tubes_are_equal_to_the_last_bit():
    tube = Tube('run', np.array([1, 2]), np.array([[0, 0, 1, 1]] * 2, np.float32))
    other = replace(tube, boxes=tube.boxes.copy())
    assert tube == other
    other.boxes[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    assert tube != other
    assert tube != replace(tube, label='jump')
    assert tube != replace(tube, frames=np.array([1, 3]))


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = write(tmp_path / 'toy.json', RAW)
    expected = load_annotation(path)
    path.write_text(path.read_text(), encoding='utf-8-sig')
    assert load_annotation(path) == expected
    path.write_text(path.read_text(encoding='utf-8-sig'), encoding='utf-16')
    with pytest.raises(AnnotationError, match=r'toy\.json is no text in UTF-8'):
        load_annotation(path)


@pytest.mark.parametrize('key', ['"videos"', '"a"', '"train"', '"frames"', '"path"'])
def test_a_key_that_is_there_twice_is_named(tmp_path, key):
    path = write(tmp_path / 'toy.json', RAW)
    text = path.read_text()
    value = {'"videos"': '{}', '"a"': '{}', '"path"': '"b.avi"'}.get(key, '[]')
    path.write_text(text.replace(f'{key}:', f'{key}: {value}, {key}:', 1))
    with pytest.raises(AnnotationError, match=f"toy.json: the key '{key[1:-1]}' is there twice"):
        load_annotation(path)


HOSTILE = {
    'deep': '[' * 200_000,
    'long number': '{"format": ' + '9' * 6000 + '}',
    'wide pattern': json.dumps(RAW).replace('{:05d}.png', '{:9999999999d}.png'),
    'pattern of parts': json.dumps(RAW).replace('{:05d}.png', '{0.real.x}.png'),
    'endless video': json.dumps(RAW).replace('"num_frames": 5', '"num_frames": 5000000000000'),
    'dataset': json.dumps(RAW).replace('"dataset": "toy"', '"dataset": {}'),
    'split of a split': json.dumps(RAW).replace('["b"]', '[["b"]]'),
    'label of labels': json.dumps(RAW).replace('"label": "run"', '"label": ["run"]'),
    'boxes of text': json.dumps(RAW).replace('[1, 2, 3, 4]', '["1", "2", "3", "4"]'),
    'huge boxes': json.dumps(RAW).replace('[1, 2, 3, 4]', '[1, 2, 3, 1e300]'),
    'long frame': json.dumps(RAW).replace('[2, 3, 5]', '[2, 3, 99999999999999999999999]'),
}


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_files_are_refused(tmp_path, case):
    (tmp_path / 'toy.json').write_text(HOSTILE[case])
    with pytest.raises(AnnotationError, match=r'toy\.json'):
        load_annotation(tmp_path / 'toy.json')
