"""Bad ground truth and bad detections are refused, with the place; good ones are laid out."""

import numpy as np
import pytest

from mmstal_da.evaluation.functional import parse_detections, parse_ground_truth
from tests.evaluation_cases import random_case


@pytest.fixture
def case():
    gt, dets = random_case(0)
    gt['nframes']['video 1'] = 12
    return gt, dets


def bad_rows(dets, column, value):
    dets = dets.copy()
    dets[5, column] = value
    dets[5, 0], dets[5, 1] = (1, 7) if column > 1 else dets[5, :2]
    return dets


@pytest.mark.parametrize(
    ('column', 'value', 'problem'),
    [
        (3, np.nan, 'NaN'),
        (3, np.inf, 'infinite'),
        (4, -np.inf, 'infinite'),
        (6, 1e30, 'beyond'),
        (6, -50, 'inverted box'),
        (7, -50, 'inverted box'),
        (2, 3, 'unknown label, there are 3 classes'),
        (2, -1, 'unknown label'),
        (2, 0.5, 'label is not a whole number'),
    ],
)
def test_row_video_and_frame_of_a_bad_detection(case, column, value, problem):
    gt, dets = case
    with pytest.raises(ValueError, match=problem) as error:
        parse_detections(bad_rows(dets, column, value), parse_ground_truth(gt))
    assert 'row 5' in str(error.value)
    assert "video 'video 1', frame 7" in str(error.value)


@pytest.mark.parametrize(
    ('column', 'value', 'problem'),
    [
        (0, 3, 'row 5: unknown video, there are 3'),
        (0, -1, 'row 5: unknown video'),
        (0, 0.5, 'video index is not a whole number'),
        (1, 13, r'row 5: frame outside 1\.\.12'),
        (1, 0, r'row 5: frame outside 1\.\.12'),
        (1, 2.5, 'frame is not a whole number'),
    ],
)
def test_bad_video_or_frame(case, column, value, problem):
    gt, dets = case
    dets[5, :2] = 1, 7
    with pytest.raises(ValueError, match=problem):
        parse_detections(bad_rows(dets, column, value), parse_ground_truth(gt))


@pytest.mark.parametrize('dtype', [np.uint8, np.float16, object, np.complex64])
def test_bad_types_of_detections(case, dtype):
    gt, dets = case
    with pytest.raises(ValueError, match='detections are stored as'):
        parse_detections(dets.astype(dtype), parse_ground_truth(gt))
    with pytest.raises(ValueError, match=r'expected \(M, 8\).*got shape \(3, 7\)'):
        parse_detections(np.zeros((3, 7)), parse_ground_truth(gt))


def one_tube(tube, **kwargs):
    return {
        'labels': ['run', 'walk'],
        'videos': ['v'],
        'nframes': {'v': np.uint8(9)},
        'gttubes': {'v': {1: [np.array([[1, 0, 0, 9, 9.0]]), tube]}},
        **kwargs,
    }


@pytest.mark.parametrize(
    ('rows', 'problem'),
    [
        ([[3, 0, 0, 9, 9], [3, 0, 0, 9, 9]], 'row 1: frames do not increase'),
        ([[3, 0, 0, 9, 9], [2, 0, 0, 9, 9]], 'row 1: frames do not increase'),
        ([[9, 0, 0, 9, 9], [10, 0, 0, 9, 9]], 'row 1: the frame is outside'),
        ([[0, 0, 0, 9, 9]], 'row 0: the frame is outside'),
        ([[1.5, 0, 0, 9, 9]], 'not a whole number'),
        ([[1, 0, 0, np.nan, 9]], 'row 0: NaN'),
        ([[1, 0, 0, -1, 9]], 'the box is inverted'),
    ],
)
def test_place_of_a_bad_ground_truth_box(rows, problem):
    with pytest.raises(ValueError, match=problem) as error:
        parse_ground_truth(one_tube(np.array(rows, np.float64)))
    assert "video 'v', class 'walk', tube 1" in str(error.value)
    assert 'frame' in str(error.value)


def test_bad_shapes_and_types_of_ground_truth():
    with pytest.raises(ValueError, match='tube 1: stored as uint8.*wrap around'):
        parse_ground_truth(one_tube(np.array([[1, 0, 0, 9, 9]], np.uint8)))
    with pytest.raises(ValueError, match=r'tube 1: expected \(n, 5\).*\(0, 5\)'):
        parse_ground_truth(one_tube(np.zeros((0, 5))))
    with pytest.raises(ValueError, match=r"video 'v': label 2 is not one of the 2 classes"):
        parse_ground_truth(one_tube(np.zeros((1, 5)), gttubes={'v': {2: []}}))
    with pytest.raises(ValueError, match="'nframes' lacks video 'v'"):
        parse_ground_truth(one_tube(np.zeros((1, 5)), nframes={}))
    with pytest.raises(ValueError, match=r"lacks the keys \['nframes'\]"):
        parse_ground_truth({'labels': [], 'gttubes': {}})
    with pytest.raises(ValueError, match='twice'):
        parse_ground_truth(one_tube(np.array([[1.0, 0, 0, 9, 9]]), videos=['v', 'v']))
    with pytest.raises(ValueError, match="neither 'test_videos' nor 'videos'"):
        gt = one_tube(np.array([[1.0, 0, 0, 9, 9]]))
        del gt['videos']
        parse_ground_truth(gt)


def test_splits_and_classes(case):
    gt, _ = case
    gt['test_videos'] = [['video 1'], ['video 2', 'video 0']]
    assert parse_ground_truth(gt, split=2).videos == ['video 2', 'video 0']
    with pytest.raises(ValueError, match=r'2 test split\(s\), no split 3'):
        parse_ground_truth(gt, split=3)
    del gt['test_videos']
    with pytest.raises(ValueError, match='no classes'):
        parse_ground_truth(gt, classes=['class 9'])
    chosen = parse_ground_truth(gt, classes=['class 1'])
    whole = parse_ground_truth(gt)
    assert chosen.labels == ['class 1']
    assert len(chosen.tubes) == (whole.tubes.label == 1).sum()
    assert {chosen.videos[v] for v in chosen.tubes.video} == set(chosen.videos)


def test_detections_outside_the_evaluated_videos_and_classes_are_left_out(case):
    gt, dets = case
    truth = parse_ground_truth({**gt, 'test_videos': [['video 2', 'video 0']]})
    kept = parse_detections(dets, truth, videos=gt['videos'])
    inside = dets[dets[:, 0] != 1]
    np.testing.assert_array_equal(np.array([1, -1, 0])[inside[:, 0].astype(int)], kept.video)
    np.testing.assert_array_equal(kept.boxes, inside[:, 4:].astype(np.float32))
    truth = parse_ground_truth(gt, classes=['class 1', 'class 0'])
    kept = parse_detections(dets, truth, gt['videos'], gt['labels'])
    rows = dets[
        (dets[:, 2] < 2) & np.isin(dets[:, 0], [gt['videos'].index(v) for v in truth.videos])
    ]
    np.testing.assert_array_equal(1 - rows[:, 2], kept.label)


def test_integer_rows_and_input_order(case):
    gt, _ = case
    rows = np.array([[1, 7, 0, 1, 0, 0, 9, 9], [0, 1, 2, 0, 4, 4, 4, 4]], np.int32)
    dets = parse_detections(rows, parse_ground_truth(gt))
    assert dets.video.tolist() == [1, 0]
    assert dets.score.tolist() == [1, 0]
    assert dets.boxes.dtype == np.float32
