"""Label-free scores against their definitions, detection by detection."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import Detections, get_protocol
from mmstal_da.evaluation.functional.label_free import (
    box_stability,
    consistency_and_reliability,
    groups_of,
    offline_scores,
    pcr,
    tube_steadiness,
)


def iou(a, b, pixel=0.0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    inter = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0] + pixel) * (x[3] - x[1] + pixel) for x in (a, b)]
    return inter / (sum(areas) - inter)


def boxes_of(rng, n: int) -> np.ndarray:
    corner = rng.uniform(0, 12, (n, 2))
    return np.hstack((corner, corner + rng.uniform(8, 20, (n, 2)))).astype(np.float32)


def reference_pcr(boxes, scores) -> tuple[float, float]:
    """From the paper's definitions, one box at a time."""
    candidates = [(s, tuple(b)) for s, b in zip(scores, boxes, strict=True) if s > 0.05]
    candidates.sort(key=lambda c: -c[0])
    removed, kept = set(), []
    for i, (score, box) in enumerate(candidates):
        if i in removed:
            continue
        mine = [j for j, (_, b) in enumerate(candidates) if j != i and iou(box, b) > 0.5]
        kept.append((score, box, mine))
        removed.update(mine)

    def rising(s):
        return 0.1 + 0.9 / (1 + np.exp(-20 * (s - 0.4)))

    total = sum(rising(candidates[j][0]) for j in removed)
    consistency = sure = 0.0
    for score, box, mine in kept:
        if score > 0.4:
            sure += sum(rising(candidates[j][0]) for j in mine)
        if not mine:
            continue
        others = np.array([candidates[j][1] for j in mine])
        around = (*others[:, :2].min(0), *others[:, 2:].max(0))
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        other = np.array([(around[0] + around[2]) / 2, (around[1] + around[3]) / 2])
        half = np.hypot(box[2] - centre[0], box[3] - centre[1]) / 2
        near = 1 - np.hypot(*(other - centre)) / half
        weight = 1 / (1 + np.exp(10 * (score - 0.4)))
        consistency += (0.5 * iou(box, around) + 0.5 * near) * weight
    return (
        consistency / len(kept) if kept and consistency > 0 else np.nan,
        sure / total if total else np.nan,
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_pcr_is_that_of_its_definition(seed, n):
    rng = np.random.default_rng(seed)
    boxes, scores = boxes_of(rng, n), rng.permutation(np.linspace(0.01, 0.95, max(n, 1)))[:n]
    np.testing.assert_allclose(
        consistency_and_reliability(boxes, scores), reference_pcr(boxes, scores), rtol=1e-5
    )


def test_pcr_of_a_frame_by_hand():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    consistency, reliability = consistency_and_reliability(boxes, np.array([0.4, 0.4, 0.9]))
    assert consistency == pytest.approx(0.5 / 2)  # the weight at 0.4 is a half; two boxes are kept
    assert reliability == 0  # 0.4 is not confident
    sure = consistency_and_reliability(boxes, np.array([0.9, 0.3, 0.9]))
    assert sure[1] == 1
    lonely = consistency_and_reliability(boxes[2:], np.array([0.9]))
    assert np.isnan(lonely).all()
    assert pcr(np.array([0.2, np.nan]), np.array([0.9, 0.7])) == pytest.approx(0.6)
    assert np.isnan(pcr(np.array([np.nan]), np.array([0.9])))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
def test_box_stability_is_the_best_of_all_matchings(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = boxes_of(rng, n), boxes_of(rng, m)
    labels, others = rng.integers(0, 2, n), rng.integers(0, 2, m)
    if n > m:
        a, b, labels, others = b, a, others, labels
    best = max(
        sum(iou(a[i], b[j]) * (labels[i] == others[j]) for i, j in enumerate(choice))
        for choice in permutations(range(len(b)), len(a))
    )
    assert box_stability(a, labels, b, others) == pytest.approx(best / len(a), rel=1e-4, abs=1e-6)


def test_box_stability_at_its_limits():
    box, label = np.float32([[0, 0, 10, 10]]), np.array([1])
    assert box_stability(box, label, box, label) == 1
    assert box_stability(box, label, box, np.array([0])) == 0  # another class
    assert np.isnan(box_stability(box, label, box[:0], label[:0]))


def track(n: int, video=0, label=0, score=0.8, jitter=0.0, start=1, seed=0) -> list[list[float]]:
    """Rows of a box that moves evenly, and jumps to and fro by ``jitter`` pixels."""
    rng = np.random.default_rng(seed)
    x = 10 + 0.5 * np.arange(n) + jitter * (np.arange(n) % 2)
    y = 20 + rng.uniform(0, 1) + np.zeros(n)
    frames = start + np.arange(n)
    return [
        [video, frame, label, score, a, b, a + 30, b + 40]
        for frame, a, b in zip(frames, x, y, strict=True)
    ]


def dets(*tracks) -> Detections:
    return Detections.from_rows(np.array([row for rows in tracks for row in rows], np.float32))


def test_a_steady_tube_is_steady_and_anything_else_is_less():
    steady = tube_steadiness(dets(track(20)))
    assert steady == pytest.approx(1, abs=5e-3)  # an end is half a pixel from its neighbour
    values = [tube_steadiness(dets(track(20, jitter=jitter))) for jitter in (1, 3, 6)]
    assert steady > values[0] > values[1] > values[2] > 0
    flicker = track(20)
    for row in flicker[::2]:
        row[3] = 0.4
    assert tube_steadiness(dets(flicker)) < 0.8
    changing = track(20)
    for row in changing[10:]:
        row[2] = 1  # of another class from its middle on: two tubes that are too short
    assert tube_steadiness(dets(changing)) == 0
    assert tube_steadiness(dets(track(20), track(1, start=5, video=1))) == pytest.approx(
        steady * 20 / 21
    )


def test_steadiness_of_a_short_tube_by_its_formula():
    rows = track(5, jitter=2.0)
    for row, score in zip(rows, (0.5, 0.9, 0.35, 0.2, 0.8), strict=True):
        row[3] = score
    boxes = [row[4:] for row in rows]
    scores = [row[3] for row in rows]
    expected = mass = 0.0
    for t in range(5):
        if scores[t] < 0.3:
            continue
        near = [i for i in (t - 1, t + 1) if 0 <= i < 5]
        middle = np.mean([boxes[i] for i in near], axis=0)
        ratio = min(1, np.mean([scores[i] for i in near]) / scores[t])
        expected += scores[t] * iou(boxes[t], middle, pixel=1.0) * ratio
        mass += scores[t]
    value = tube_steadiness(dets(rows), get_protocol('act', min_length=3))
    assert value == pytest.approx(expected / mass, rel=1e-5)


def test_steadiness_does_not_depend_on_order_or_other_videos_frames():
    rows = [*track(20, jitter=2), *track(20, video=1, label=1, seed=3), *track(3, start=30)]
    expected = tube_steadiness(dets(rows))
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert tube_steadiness(dets(shuffled)) == pytest.approx(expected)
    assert np.isnan(tube_steadiness(dets(track(20, score=0.2))))
    assert np.isnan(tube_steadiness(Detections.empty(0)))


def test_offline_scores_have_pcr_only_of_candidates_before_nms():
    after = dets(track(20), track(20, video=1))
    assert list(offline_scores(after)) == ['tube_steadiness']
    doubled = dets(track(20), track(20, score=0.3))
    scores = offline_scores(doubled)
    parts = [consistency_and_reliability(g.boxes, g.score) for g in groups_of(doubled)]
    assert len(parts) == 20
    assert scores['pcr'] == pytest.approx(pcr(*np.array(parts).T))
    assert list(groups_of(Detections.empty(0))) == []
