"""The shares of errors, against a count detection by detection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import (
    analyse_errors,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.report import format_errors
from mmstal_da.visualization.error_plot import save_error_plot
from tests import reference_evaluator as per_detection
from tests.evaluation_cases import random_case


def boxes_of(gt: dict, v: int, frame: int, labels) -> list:
    tubes = gt['gttubes'][gt['videos'][v]]
    return [
        np.float32(row[1:])
        for label in labels
        for tube in tubes.get(label, [])
        for row in tube
        if row[0] == frame
    ]


def count_errors(gt: dict, dets: np.ndarray, label: int, protocol) -> dict | None:
    """Shares of one class, by ACT's rules, one detection after the other."""
    others = [other for other in range(len(gt['labels'])) if other != label]
    total = sum(len(t) for tubes in gt['gttubes'].values() for t in tubes.get(label, []))
    if total == 0:
        return None
    ranked = []
    groups = per_detection.group_detections(dets, gt)
    for v in range(len(gt['videos'])):
        for frame, group in sorted(groups.get((label, v), {}).items()):
            boxes, scores = per_detection.suppress(*group, protocol)
            ranked += [(score, v, frame, box) for box, score in zip(boxes, scores, strict=True)]
    order = per_detection.order_in_class([item[0] for item in ranked], protocol.ties)
    count = dict.fromkeys(('ap', 'localisation', 'classification', 'time', 'other'), 0)
    left: dict = {}
    area = dict.fromkeys(count, 0.0)
    before = {'ap': 1.0, 'localisation': 0, 'classification': 0, 'time': 0, 'other': 0}
    recall = 0.0
    for place, i in enumerate(order, 1):
        _, v, frame, box = ranked[i]
        own = boxes_of(gt, v, frame, [label])
        free = left.setdefault((v, frame), list(own))
        overlaps = [per_detection.iou(other, box, protocol.pixel) for other in free]
        strange = [
            per_detection.iou(other, box, protocol.pixel)
            for other in boxes_of(gt, v, frame, others)
        ]
        if overlaps and max(overlaps) >= 0.5:
            free.pop(overlaps.index(max(overlaps)))
            kind = 'ap'
        elif own:
            kind = 'localisation'
        elif strange:
            kind = 'classification' if max(strange) >= 0.5 else 'other'
        else:
            kind = 'time' if gt['gttubes'][gt['videos'][v]].get(label) else 'other'
        count[kind] += 1
        now = {key: value / place for key, value in count.items()}
        step = count['ap'] / total - recall
        recall = count['ap'] / total
        for key in area:
            area[key] += 100 * step * (before[key] + now[key]) / 2
        before = now
    return {**area, 'missed': 100 * (1 - recall)}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([None, 4]))
def test_shares_equal_the_count_and_add_up(seed, steps):
    gt, dets = random_case(seed, num_dets=120, score_steps=steps)
    truth = parse_ground_truth(gt)
    errors = analyse_errors(parse_detections(dets, truth), truth)
    for label, name in enumerate(gt['labels']):
        expected = count_errors(gt, dets, label, get_protocol())
        found = errors['classes'][name]
        if expected is None:
            assert found is None
            continue
        assert found == pytest.approx(expected, abs=1e-9)
        assert sum(found.values()) == pytest.approx(100)


def test_ap_is_that_of_the_evaluation_and_the_mean_that_of_the_classes():
    gt, dets = random_case(5, num_dets=200)
    truth = parse_ground_truth(gt)
    parsed = parse_detections(dets, truth)
    errors = analyse_errors(parsed, truth)
    aps = evaluate_detections(parsed, truth)['frame_AP@0.5']
    found = [shares and shares['ap'] for shares in errors['classes'].values()]
    assert found == pytest.approx(aps)
    known = [shares for shares in errors['classes'].values() if shares]
    for key, value in errors['mean'].items():
        assert value == pytest.approx(np.mean([shares[key] for shares in known]))


def test_table_and_picture(tmp_path):
    gt, dets = random_case(5)
    truth = parse_ground_truth(gt)
    errors = analyse_errors(parse_detections(dets, truth), truth)
    table = format_errors(errors)
    for name in (*gt['labels'], 'localisation', 'classification', 'time', 'other', 'missed'):
        assert name in table
    save_error_plot(errors, tmp_path / 'errors.png', 'title')
    assert (tmp_path / 'errors.png').read_bytes().startswith(b'\x89PNG')
