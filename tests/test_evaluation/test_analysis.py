"""Confusion matrix against a count frame by frame; curves against the AP that they enclose."""

import csv
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import (
    confusion_matrix,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
    precision_recall_curves,
)
from mmstal_da.visualization.confusion_plot import plot_confusion
from mmstal_da.visualization.recall_plot import plot_precision_recall
from tests import reference_evaluator as per_detection
from tests.evaluation_cases import random_case
from tests.load_tool import load_tool

TOOL = 'analysis_tools/eval_detections'


def count_boxes(gt: dict, dets: np.ndarray, protocol, background: bool, score_thr: float):
    """The matrix by its definition, one frame after the other."""
    size = len(gt['labels'])
    matrix = np.zeros((size + 1, size + 1), int)
    groups = per_detection.group_detections(dets, gt)
    for v, name in enumerate(gt['videos']):
        for frame in range(1, gt['nframes'][name] + 1):
            truth = [
                (label, np.float32(row[1:]))
                for label, tubes in gt['gttubes'][name].items()
                for tube in tubes
                for row in tube
                if row[0] == frame
            ]
            if not truth and not background:
                continue
            found = []
            for label in range(size):
                group = groups.get((label, v), {}).get(frame)
                if group is not None:
                    boxes, scores = per_detection.suppress(*group, protocol)
                    found += [(-s, label, b) for b, s in zip(boxes, scores, strict=True)]
            for score, label, box in sorted(found, key=lambda item: item[0]):
                if -score < np.float32(score_thr):
                    continue
                overlaps = [per_detection.iou(box, other, protocol.pixel) for _, other in truth]
                if overlaps and max(overlaps) >= np.float32(0.5):
                    actual, _ = truth.pop(overlaps.index(max(overlaps)))
                    matrix[actual, label] += 1
                else:
                    matrix[size, label] += 1
            for actual, _ in truth:
                matrix[actual, size] += 1
    return matrix


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(['act', 'voc']),
    steps=st.sampled_from([None, 4]),
    background=st.booleans(),
    score_thr=st.sampled_from([0.0, 0.25, 0.6]),
)
def test_counts_equal_the_definition(seed, name, steps, background, score_thr):
    gt, dets = random_case(seed, num_dets=120, score_steps=steps)
    protocol = get_protocol(name, ties='stable')
    truth = parse_ground_truth(gt)
    parsed = parse_detections(dets, truth)
    matrix = confusion_matrix(parsed, truth, protocol, background, score_thr)
    # boxes of equal overlap are taken in the order of the ground truth's tubes, as in the twin
    np.testing.assert_array_equal(matrix, count_boxes(gt, dets, protocol, background, score_thr))
    boxes = np.bincount(truth.rows()[1], minlength=3)
    np.testing.assert_array_equal(matrix[:-1].sum(1), boxes)


def area(line) -> float:
    """Of a drawn line down to the axis, by trapezoids."""
    x, y = line.get_data()
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['act', 'voc'])
@pytest.mark.parametrize('seed', [1, 4, 5, 9])
@pytest.mark.parametrize('background', [True, False])
def test_the_area_below_a_drawn_curve_is_the_ap(name, seed, background):
    gt, dets = random_case(seed, num_videos=5, max_frames=40, num_dets=600, score_steps=50)
    truth, protocol = parse_ground_truth(gt), get_protocol(name, min_length=2, max_gap=3)
    parsed = parse_detections(dets, truth)
    result = evaluate_detections(parsed, truth, protocol, background)
    curves = precision_recall_curves(parsed, truth, protocol, background)
    figure = plot_precision_recall(curves, truth.labels, 'title')
    panels = {axis.get_title(): axis for axis in figure.axes if axis.get_title()}
    assert set(panels) == {'class 0', 'class 1'}  # the last class has no ground truth
    for number, label in enumerate(truth.labels[:2]):
        frame, video = panels[label].get_lines()
        assert 100 * area(frame) == pytest.approx(result['frame_AP@0.5'][number], abs=1e-9)
        assert 100 * area(video) == pytest.approx(result['video_AP@0.5'][number], abs=1e-9)
        for line in (frame, video):
            x, y = line.get_data()
            assert (np.diff(x) >= 0).all() and x.max(initial=0) <= 1 and y.max(initial=0) <= 1
    assert max(result['video_AP@0.5'][:2]) > 0


def test_a_point_counts_the_detections_down_to_its_score():
    gt, dets = random_case(5, num_videos=5, max_frames=40, num_dets=600)
    truth = parse_ground_truth(gt)
    parsed = parse_detections(dets, truth)
    # without suppression the score of a detection is its own, so a threshold cuts the curve
    protocol = get_protocol('act', nms_iou=1.0)
    whole = precision_recall_curves(parsed, truth, protocol)['frame'][0]
    assert np.isinf(whole.score[0]) and (whole.recall[0], whole.precision[0]) == (0, 1)
    for at in (1, len(whole.score) // 2):
        cut = parsed.take(np.flatnonzero(parsed.score >= whole.score[at]))
        last = precision_recall_curves(cut, truth, protocol)['frame'][0]
        assert (last.recall[-1], last.precision[-1]) == (whole.recall[at], whole.precision[at])


def test_the_matrix_is_drawn_with_its_counts():
    matrix = np.array([[3, 1, 0], [0, 0, 5], [7, 2, 0]])
    figure = plot_confusion(matrix, ['a', 'b'], 'title')
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ['3\n75%', '1\n25%', '0\n0%', '0\n0%', '0\n0%', '5\n100%', '7\n78%', '2\n22%']
    place = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert place['1\n25%'] == (1, 0) and place['5\n100%'] == (2, 1)  # column, row
    many = plot_confusion(np.eye(21, dtype=int), list('abcdefghijklmnopqrst'))
    assert [text.get_text() for text in many.axes[0].texts] == ['1'] * 20


@pytest.mark.slow
def test_the_tool_writes_pictures_and_numbers(tmp_path, capsys):
    gt, dets = random_case(5, num_videos=5, max_frames=40, num_dets=600)
    (tmp_path / 'gt.pkl').write_bytes(pickle.dumps(gt))
    np.savez(tmp_path / 'dets.npz', dets=dets)
    out = tmp_path / 'out'
    arguments = [str(tmp_path / 'gt.pkl'), str(tmp_path / 'dets.npz'), '--analysis', str(out)]
    assert load_tool(TOOL).main([*arguments, '--confusion-thr', '0.5']) == 0
    said = capsys.readouterr().out
    for name in ('confusion.png', 'confusion.csv', 'curves.png', 'curves.csv', 'analysis.json'):
        assert str(out / name) in said and (out / name).stat().st_size > 0
    truth = parse_ground_truth(gt)
    parsed = parse_detections(dets, truth)
    matrix = confusion_matrix(parsed, truth, score_thr=0.5)
    rows = list(csv.reader((out / 'confusion.csv').open()))
    assert rows[0] == ['ground truth', *gt['labels'], 'missed'] and rows[-1][0] == 'background'
    assert [[int(count) for count in row[1:]] for row in rows[1:]] == matrix.tolist()
    written = json.loads((out / 'analysis.json').read_text())
    assert written['confusion']['matrix'] == matrix.tolist()
    result = evaluate_detections(parsed, truth)
    points = list(csv.DictReader((out / 'curves.csv').open()))
    for level in ('frame', 'video'):
        for number, label in enumerate(gt['labels'][:2]):
            curve = written['curves'][level][label]
            assert curve['ap'] == result[f'{level}_AP@0.5'][number] and curve['score'][0] is None
            of = [p for p in points if (p['level'], p['class']) == (level, label)]
            assert [float(point['recall']) for point in of] == curve['recall']
            assert [float(point['precision']) for point in of] == curve['precision']
    assert gt['labels'][2] not in written['curves']['frame']


@pytest.mark.parametrize('flag', ['--confusion-thr', '--score-thr'])
def test_a_threshold_outside_the_unit_interval_is_refused(flag, capsys):
    with pytest.raises(SystemExit):
        load_tool(TOOL).main(['gt.pkl', 'dets.npz', flag, '30'])
    assert 'lie in [0, 1]' in capsys.readouterr().err
