"""Tubes that mark the same action twice: found, reported, and merged on request."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import (
    evaluate_detections,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.report import format_results
from mmstal_da.tubes.annotation import Annotation, Tube, Video
from mmstal_da.tubes.duplicates import are_duplicates, find_duplicates, merge_duplicates
from mmstal_da.tubes.integrity import check_tubes
from tests.annotations import tubes


def tube(first: int, last: int, x: float = 10, label: str = 'run', size: float = 39) -> Tube:
    frames = np.arange(first, last + 1)
    box = np.array([x, 20, x + size, 20 + size], np.float32)
    return Tube(label, frames, np.tile(box, (len(frames), 1)))


@pytest.mark.parametrize(
    ('a', 'b', 'expected'),
    [
        (tube(1, 20), tube(1, 20), True),
        (tube(1, 20), tube(1, 20, label='jump'), False),
        (tube(1, 20), tube(1, 20, x=11), True),  # 39 of 41 columns, IoU 0.951
        (tube(1, 20), tube(1, 20, x=13), False),  # 37 of 43
        (tube(1, 20), tube(11, 30), True),  # half of the shorter one
        (tube(1, 20), tube(12, 31), False),
        (tube(1, 20), tube(5, 8), True),
        (tube(1, 20), tube(21, 30), False),
    ],
)
def test_what_counts_as_a_duplicate(a, b, expected):
    assert find_duplicates([a, b]) == ([(0, 1)] if expected else [])
    assert find_duplicates([b, a]) == ([(0, 1)] if expected else [])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(tubes(12), max_size=7), st.data())
def test_the_sweep_finds_what_all_pairs_find(found, data):
    if found:  # and some repetitions
        found = found + data.draw(st.lists(st.sampled_from(found), max_size=3))
    pairs = [
        (i, j)
        for j in range(len(found))
        for i in range(j)
        if found[i].label == found[j].label
        and are_duplicates(found[i].frames, found[i].boxes, found[j].frames, found[j].boxes)
    ]
    assert find_duplicates(found) == sorted(pairs)


def test_merging_keeps_every_frame_once():
    annotation = Annotation('toy', ['run', 'jump'], {'a': Video('a.avi', 40)})
    first, second, other = tube(1, 20), tube(11, 30), tube(1, 20, label='jump')
    annotation.tubes['a'] = [first, other, second, tube(12, 13), tube(1, 40, x=200)]
    assert len(check_tubes(annotation)) == 3
    assert merge_duplicates(annotation) == {'a': 2}
    assert annotation.tubes['a'] == [tube(1, 30), other, tube(1, 40, x=200)]
    assert check_tubes(annotation) == [] and merge_duplicates(annotation) == {}


def perfect(found: list[Tube]) -> tuple[dict, np.ndarray]:
    """Ground truth, and detections that are exactly its tubes."""
    rows = [np.column_stack([t.frames, t.boxes]).astype(np.float64) for t in found]
    gt = dict(labels=['run'], videos=['a'], nframes={'a': 60}, gttubes={'a': {0: rows}})
    dets = np.concatenate([
        np.column_stack([np.zeros((len(r), 1)), r[:, :1], np.zeros((len(r), 1)),
                         np.full((len(r), 1), 0.9), r[:, 1:]]) for r in rows
    ])  # fmt: skip
    return gt, dets


def scored(found: list[Tube]) -> dict:
    gt, dets = perfect(found)
    truth = parse_ground_truth(gt)
    return evaluate_detections(parse_detections(dets, truth), truth)


def test_the_report_says_why_perfect_detections_do_not_reach_100():
    fine = scored([tube(1, 40), tube(1, 40, x=200)])
    assert fine['video_mAP@0.5'] == 100 and fine['n_gt_tubes_twice'] == 0
    assert 'repeat another one' not in format_results(fine)
    twice = scored([tube(1, 40), tube(1, 40)])
    assert twice['video_mAP@0.5'] < 60
    assert twice['n_gt_tubes_twice'] == 1
    assert '1 of 2 ground-truth tubes repeat another one' in format_results(twice)


def test_the_report_counts_tubes_that_are_too_short_to_be_found():
    result = scored([tube(1, 14), tube(20, 33, x=100), tube(1, 40, x=200)])
    assert result['n_gt_tubes_too_short'] == 2 and result['video_mAP@0.5'] < 50
    assert '2 of 3 ground-truth tubes have fewer than 15 frames' in format_results(result)
    result = scored([tube(1, 15)])
    assert result['n_gt_tubes_too_short'] == 0 and result['video_mAP@0.5'] == 100


def test_a_score_of_zero_gets_a_hint():
    gt, dets = perfect([tube(1, 40)])
    truth = parse_ground_truth(gt)
    dets[:, 4:] += 300
    result = evaluate_detections(parse_detections(dets, truth), truth)
    assert 'are boxes in pixels of the original video' in format_results(result)


@pytest.mark.slow
def test_the_two_of_ucf101_24(test_data):
    from mmstal_da.tubes.converters.ucf101_24 import from_pyannot

    annotation = from_pyannot(test_data / 'ucf101_24/pyannot.pkl', [])
    found = {name for name, items in annotation.tubes.items() if find_duplicates(items)}
    assert found == {
        'CliffDiving/v_CliffDiving_g13_c02', 'CricketBowling/v_CricketBowling_g02_c04',
    }  # fmt: skip
