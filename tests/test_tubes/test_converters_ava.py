"""MMAction2's AVA files: read by MMAction2 itself, and exact round trips."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.converters.ava import from_ava, save_ava
from mmstal_da.tubes.converters.ava_csv import read_label_map
from mmstal_da.tubes.converters.fractions import decode, encode
from mmstal_da.tubes.converters.sources import read_source
from mmstal_da.tubes.converters.subset import keep_videos
from tests.annotations import annotations, coordinates


def toy() -> Annotation:
    tubes = [
        Tube('run', np.array([2, 3, 5]), np.array([[0, 0, 63, 47]] * 3, np.float32)),
        Tube('jump', np.array([3]), np.array([[16, 12, 31.5, 23]], np.float32)),
    ]
    videos = {'run/a': Video('run/a.avi', 7, 64, 48), 'run/b': Video('run/b.avi', 9, 64, 48)}
    splits = {'train': ['run/b', 'run/a'], 'test': ['run/b']}
    return Annotation('toy', ['jump', 'run'], videos, splits, {'run/a': tubes})


def test_lines_and_label_map(tmp_path):
    files = save_ava(toy(), tmp_path)
    assert [file.name for file in files] == [
        'toy_train.csv', 'toy_train_proposals.pkl', 'toy_test.csv', 'toy_test_proposals.pkl',
        'toy_action_list.pbtxt', 'toy_videos.json',
    ]  # fmt: skip
    assert (tmp_path / 'toy_train.csv').read_text().splitlines() == [
        'run/a.avi,2,0.0,0.0,1.0,1.0,2,0',
        'run/a.avi,3,0.0,0.0,1.0,1.0,2,0',
        'run/a.avi,3,0.25,0.25,0.5078125,0.5,1,1',
        'run/a.avi,5,0.0,0.0,1.0,1.0,2,0',
    ]
    assert (tmp_path / 'toy_test.csv').read_text() == ''
    assert read_label_map(tmp_path / 'toy_action_list.pbtxt') == {1: 'jump', 2: 'run'}
    assert from_ava(tmp_path) == toy()


def test_mmaction2_reads_them(tmp_path):
    from mmaction.datasets import AVADataset
    from mmaction.datasets.transforms import SampleAVAFrames

    save_ava(toy(), tmp_path)
    dataset = AVADataset(
        str(tmp_path / 'toy_train.csv'), [], label_file=str(tmp_path / 'toy_action_list.pbtxt'),
        proposal_file=str(tmp_path / 'toy_train_proposals.pkl'), custom_classes=[1, 2],
        data_prefix=dict(img='videos'), use_frames=False, num_classes=3,
        fps=1, timestamp_start=1, start_index=0,
    )  # fmt: skip
    assert len(dataset) == 3
    info = dataset.get_data_info(1)
    assert (info['filename'], info['timestamp']) == ('videos/run/a.avi', 3)
    assert info['gt_bboxes'].tolist() == [[0, 0, 1, 1], [0.25, 0.25, 0.5078125, 0.5]]
    assert info['gt_labels'].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert info['entity_ids'].tolist() == [0, 1]
    assert info['proposals'].tolist() == info['gt_bboxes'].tolist()
    sampled = SampleAVAFrames(1, 1, test_mode=True).transform({**info, 'total_frames': 7})
    assert sampled['frame_inds'].tolist() == [2]  # the third frame


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(annotation=annotations(sized=True))
def test_a_round_trip_is_exact(tmp_path_factory, annotation):
    folder = tmp_path_factory.getbasetemp() / 'ava'
    shutil.rmtree(folder, ignore_errors=True)
    save_ava(annotation, folder)
    read = from_ava(folder)
    assert read == annotation
    assert list(read.videos) == list(annotation.videos)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(coordinates, min_size=1), st.integers(1, 10000), st.sampled_from([0, 1]))
def test_coordinates_come_back_to_the_last_bit(values, extent, offset):
    values = np.array(values, np.float32)
    texts = encode(values, extent, offset)
    assert np.array_equal(decode(texts, extent, offset), values)
    near = [float(text) * extent - offset for text in texts]  # as others read them
    assert np.allclose(near, values, rtol=1e-6, atol=1e-6)


def test_some_splits(tmp_path):
    save_ava(toy(), tmp_path, ['test'])
    expected = keep_videos(toy(), ['run/b'])
    del expected.splits['train']
    assert from_ava(tmp_path) == expected == from_ava(tmp_path / 'toy_test.csv')
    save_ava(toy(), tmp_path / 'both')
    train = toy()
    del train.splits['test']
    assert from_ava(tmp_path / 'both/toy_train.csv') == train
    with pytest.raises(AnnotationError, match="no split 'val'"):
        save_ava(toy(), tmp_path, ['val'])


def test_files_made_elsewhere(tmp_path):
    (tmp_path / 'ava_train_v2.csv').write_text(
        'clip.mp4,7,0.500,0.250,1.000,1.000,4,1\nclip.mp4,5,0.5,0.25,1.0,1.0,4,1\n'
        'clip.mp4,5,0.5,0.25,1.0,1.0,9,1\n'
    )
    label_map = tmp_path / 'ava_action_list_v2.pbtxt'
    label_map.write_text('item {\n  name: "sit"\n  id: 4\n}\nitem {\n  name: "eat"\n  id: 9\n}\n')
    annotation = from_ava(tmp_path, {'clip': (640, 480)})
    assert annotation.classes == ['sit', 'eat']
    assert annotation.videos == {'clip': Video('clip.mp4', 7, 640, 480)}
    assert annotation.splits == {'train': ['clip']}
    sit, eat = sorted(annotation.tubes['clip'], key=lambda tube: -len(tube.frames))
    assert (sit.label, sit.frames.tolist()) == ('sit', [5, 7])
    assert (eat.label, eat.boxes.tolist()) == ('eat', [[320, 120, 639, 479]])
    with pytest.raises(AnnotationError, match="size of video 'clip' is not known.*--frame-sizes"):
        from_ava(tmp_path)


WRONG = {
    'a,1,0,0,1,1,1': '7 fields instead of',
    'run/a.avi,1,0,0,1,1,3,0': 'line 1: class 3 is not in the label map',
    'run/a.avi,1,0,0,x,1,1,0': 'could not convert',
    'run/c.avi,1,0,0,1,1,1,0': "video 'run/c.avi' is not in",
    'run/a.avi,1,0,0,1,1,1,0\nrun/a.avi,1,0,0,1,1,1,0': 'two boxes',
    'run/a.avi,99,0,0,1,1,1,0': 'frame 99 is outside 1..7',
}


@pytest.mark.parametrize('line', WRONG)
def test_lines_that_are_wrong(tmp_path, line):
    save_ava(toy(), tmp_path)
    (tmp_path / 'toy_train.csv').write_text(line + '\n')
    with pytest.raises(AnnotationError, match=WRONG[line]):
        from_ava(tmp_path)


def test_what_the_format_cannot_hold(tmp_path):
    annotation = toy()
    annotation.videos['run/a'] = replace(annotation.videos['run/a'], width=None, height=None)
    with pytest.raises(AnnotationError, match="'run/a' has no width and height.*--frame-sizes"):
        save_ava(annotation, tmp_path)
    annotation = toy()
    annotation.videos['run/a'].path = 'run/a,b.avi'
    with pytest.raises(AnnotationError, match="cannot hold the path 'run/a,b.avi'"):
        save_ava(annotation, tmp_path)
    annotation = toy()
    annotation.classes[0] = annotation.tubes['run/a'][1].label = 'so "called"'
    with pytest.raises(AnnotationError, match='label map'):
        save_ava(annotation, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_jhmdb_round_trips(test_data, tmp_path):
    annotation = read_source('jhmdb', test_data / 'jhmdb/jhmdb_annot.mat').annotation
    annotation.splits['all'] = list(annotation.videos)
    save_ava(annotation, tmp_path)
    assert len((tmp_path / 'jhmdb_all.csv').read_text().splitlines()) == 31838
    assert from_ava(tmp_path) == annotation
