"""The fast evaluator against the one that goes detection by detection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import (
    evaluate_detections,
    frame_ap,
    get_protocol,
    linking,
    parse_detections,
    parse_ground_truth,
    tubes,
    video_ap,
)
from tests import reference_evaluator as per_detection
from tests.evaluation_cases import random_case

CONSTANTS = st.fixed_dictionaries(
    {
        'min_length': st.sampled_from([1, 2, 5]),
        'max_gap': st.sampled_from([1, 2, 4]),
        'keep_per_frame': st.sampled_from([1, 3, 10]),
        'min_score': st.sampled_from([0.0, 0.3]),
        'nms_iou': st.sampled_from([0.2, 0.6]),
        'link_iou': st.sampled_from([0.2, 0.5]),
        'tube_nms_iou': st.sampled_from([0.3, 1.0]),
        'trim_penalty': st.sampled_from([None, 0.0, 0.4]),
        'ties': st.sampled_from(['numpy', 'stable']),
    }
)


def assert_equal(fast: dict, slow: dict) -> None:
    for key, expected in slow.items():
        expected = np.array(expected, np.float64)  # None becomes NaN
        found = np.array(fast[key], np.float64)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9, err_msg=key)


def compare(gt: dict, dets: np.ndarray, protocol, background_frames: bool) -> dict:
    truth = parse_ground_truth(gt)
    fast = evaluate_detections(parse_detections(dets, truth), truth, protocol, background_frames)
    assert_equal(fast, per_detection.evaluate(dets, gt, protocol, background_frames))
    return fast


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_dets=st.sampled_from([0, 1, 10, 60, 300]),
    score_steps=st.sampled_from([None, 1, 3, 20]),
    grid=st.sampled_from([1, 4]),
    gt_gaps=st.booleans(),
    protocol=st.sampled_from(['act', 'voc']),
    constants=CONSTANTS,
    background_frames=st.booleans(),
)
def test_agrees_on_random_cases(
    seed, num_dets, score_steps, grid, gt_gaps, protocol, constants, background_frames
):
    gt, dets = random_case(
        seed, num_dets=num_dets, score_steps=score_steps, grid=grid, gt_gaps=gt_gaps
    )
    compare(gt, dets, get_protocol(protocol, **constants), background_frames)


def test_agrees_where_numpy_reorders_equal_tube_scores_of_a_video():
    gt, dets = random_case(3900170871, num_dets=300, score_steps=3, gt_gaps=True)
    constants = dict(min_length=1, max_gap=4, keep_per_frame=3, min_score=0.3, ties='numpy')
    compare(gt, dets, get_protocol('voc', **constants), True)


@pytest.mark.slow
@pytest.mark.parametrize('protocol', ['act', 'voc'])
@pytest.mark.parametrize('seed', range(3))
def test_agrees_on_long_videos_at_the_protocols_constants(protocol, seed):
    gt, dets = random_case(seed, num_videos=4, max_frames=60, num_dets=900)
    gt['nframes'] = {name: 60 for name in gt['videos']}
    result = compare(gt, dets, get_protocol(protocol, link_iou=0.3), True)
    assert result['n_tubes'] > 0
    assert result['frame_mAP@0.5'] > 0


def test_agrees_when_the_work_is_cut_into_many_pieces(monkeypatch):
    monkeypatch.setattr(frame_ap, 'BLOCK', 50)
    monkeypatch.setattr(frame_ap, 'CHUNK', 7)
    monkeypatch.setattr(linking, 'BATCH', 5)
    monkeypatch.setattr(tubes, 'CHUNK', 3)
    monkeypatch.setattr(video_ap, 'CHUNK', 3)
    for seed in range(10):
        gt, dets = random_case(seed, num_videos=6, num_dets=200)
        compare(gt, dets, get_protocol('act', min_length=2), True)


def test_single_frame_and_single_tube():
    gt = {
        'labels': ['a'],
        'videos': ['v'],
        'nframes': {'v': 1},
        'gttubes': {'v': {0: [np.array([[1, 0, 0, 9, 9.0]])]}},
    }
    dets = np.array([[0, 1, 0, 0.9, 0, 0, 9, 9]])
    result = compare(gt, dets, get_protocol('act', min_length=1), True)
    assert result['frame_mAP@0.5'] == result['video_mAP@0.75'] == 100


def test_no_detections_at_all():
    gt, _ = random_case(3)
    result = compare(gt, np.zeros((0, 8)), get_protocol(), True)
    assert result['frame_mAP@0.5'] == 0
    assert result['n_tubes'] == 0
