"""Which tubes become pseudo-labels: by hand, by properties, and their quality by a twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import Detections, GroundTruth, TubeSet
from mmstal_da.evaluation.functional.pseudo_labels import (
    PseudoTubeRule,
    label_quality,
    pseudo_tubes,
)

RULE = PseudoTubeRule(trim_penalty=None)


def track(first, last, score, video=0, label=0, x=10.0, step=0.0, size=30.0) -> list[list[float]]:
    """Rows of a box that is there from ``first`` to ``last``."""
    return [
        [video, frame, label, score, x + step * i, 10, x + step * i + size, 10 + size]
        for i, frame in enumerate(range(first, last + 1))
    ]


def dets(*tracks) -> Detections:
    return Detections.from_rows(
        np.array([row for rows in tracks for row in rows], float).reshape(-1, 8)
    )


def spans(tubes: TubeSet) -> list[tuple]:
    """(video, label, first, last) of every tube."""
    columns = (tubes.video, tubes.label, tubes.begin, tubes.end)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def rows(tubes: TubeSet) -> list[tuple]:
    """(video, frame, label, box) of every box."""
    found = []
    for t, (video, label, begin, end) in enumerate(spans(tubes)):
        for i, frame in enumerate(range(begin, end + 1)):
            box = tubes.boxes[int(tubes.offset[t]) + i].tolist()
            found.append((video, frame, label, box))
    return found


def iou(a, b) -> float:
    """With ends inclusive."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inter = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return inter / (sum(areas) - inter)


def test_sure_tubes_are_learnt_and_plausible_ones_ignored():
    learnt, ignored = pseudo_tubes(
        dets(
            track(1, 20, 0.9),
            track(31, 50, 0.6),  # not sure enough
            track(61, 70, 0.9),  # too short to learn
            track(81, 84, 0.9),  # too short to be plausible
            track(1, 20, 0.2, x=100),  # nothing
            track(1, 15, 0.8, video=1, label=1),
        ),
        RULE,
    )
    assert spans(learnt) == [(0, 0, 1, 20), (1, 1, 1, 15)]
    assert sorted(spans(ignored)) == [(0, 0, 31, 50), (0, 0, 61, 70)]
    np.testing.assert_allclose(learnt.score, [0.9, 0.8], rtol=1e-6)


def test_labels_may_be_single_boxes():
    """Each by its own score, however the rest of its track is; one class per actor."""
    track_of_two = [*track(1, 3, 0.9, step=0.5), *track(4, 4, 0.7, x=11.5)]
    other = track(2, 2, 0.8, label=1, x=10.5)  # the same actor
    alone = PseudoTubeRule(tube_score=0.8, link_iou=1, min_length=1, plausible_length=1)
    learnt, ignored = pseudo_tubes(dets(track_of_two, other), alone)
    assert sorted(spans(learnt)) == [(0, 0, n, n) for n in (1, 2, 3)]
    assert spans(ignored) == [(0, 0, 4, 4)]
    linked = PseudoTubeRule(tube_score=0.8, min_length=1, plausible_length=1, trim_penalty=None)
    learnt, _ = pseudo_tubes(dets(track_of_two, other), linked)
    assert spans(learnt) == [(0, 0, 1, 4)]  # its mean is 0.85


def test_an_actor_has_the_class_of_the_better_tube_on_every_frame():
    learnt, ignored = pseudo_tubes(
        dets(
            track(11, 40, 0.9, label=1),
            track(1, 60, 0.8, label=0),  # the same actor: free on 1-10 and 41-60
            track(1, 40, 0.75, label=2, x=100),  # another actor
        ),
        RULE,
    )
    assert spans(learnt) == [(0, 1, 11, 40), (0, 0, 41, 60), (0, 2, 1, 40)]
    # too short a rest to be learnt; where the better one is, nothing is ignored
    assert sorted(spans(ignored)) == [(0, 0, 1, 10)]


def test_ends_of_low_score_are_cut_and_ignored():
    found = dets(track(1, 10, 0.35), track(11, 50, 0.95), track(51, 60, 0.35))
    learnt, ignored = pseudo_tubes(found, PseudoTubeRule(trim_penalty=1.0))
    assert spans(learnt) == [(0, 0, 11, 50)]
    assert sorted(spans(ignored)) == [(0, 0, 1, 10), (0, 0, 51, 60)]
    assert spans(pseudo_tubes(found, RULE)[0]) == [(0, 0, 1, 60)]


def test_gaps_are_filled():
    found = dets(track(1, 10, 0.9), track(13, 30, 0.9, x=16))
    learnt, _ = pseudo_tubes(found, RULE)
    assert spans(learnt) == [(0, 0, 1, 30)]
    boxes = {frame: box[0] for _, frame, _, box in rows(learnt)}
    assert boxes[11] == pytest.approx(12) and boxes[12] == pytest.approx(14)
    assert spans(pseudo_tubes(found, PseudoTubeRule(max_gap=2))[0]) == [(0, 0, 13, 30)]


def test_a_tube_that_jitters_is_ignored():
    shaky = track(1, 30, 0.9)
    for row in shaky[::2]:
        row[4], row[6] = row[4] + 5, row[6] + 5
    steady = track(1, 30, 0.9, video=1)
    rule = PseudoTubeRule(min_steadiness=0.8)
    learnt, ignored = pseudo_tubes(dets(shaky, steady), rule)
    # an inner box is 5 of 31 columns off the mean of its neighbours
    assert 26 / 36 < 0.8
    assert spans(learnt) == [(1, 0, 1, 30)] and sorted(spans(ignored)) == [(0, 0, 1, 30)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 30), st.integers(1, 40), st.floats(0.1, 1.0), st.integers(0, 1),
            st.integers(0, 2), st.sampled_from([10.0, 18.0, 60.0]), st.floats(-0.5, 0.5),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_nothing_is_learnt_twice_or_ignored_where_it_is_learnt(tracks):
    found = dets(
        *(track(a, a + n, s, v, c, x, step) for a, n, s, v, c, x, step in tracks)
    )  # fmt: skip
    learnt, ignored = pseudo_tubes(found, RULE)
    here = rows(learnt)
    for i, (video, frame, _, box) in enumerate(here):
        for other in here[i + 1 :]:
            if other[:2] == (video, frame):
                assert iou(box, other[3]) < RULE.same_actor + 1e-6
    for video, frame, _, box in rows(ignored):
        for other in here:
            if other[:2] == (video, frame):
                assert iou(box, other[3]) < RULE.same_actor + 1e-6
    assert all(end - begin + 1 >= RULE.min_length for _, _, begin, end in spans(learnt))
    order = np.random.default_rng(0).permutation(len(found))
    again = pseudo_tubes(found.take(order), RULE)
    assert len(again[0]) == len(learnt)


def test_values_out_of_range_are_refused():
    for wrong in (dict(tube_score=1.5), dict(min_length=0), dict(same_actor=0)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PseudoTubeRule(**wrong)


def test_nothing_found_is_nothing():
    learnt, ignored = pseudo_tubes(Detections.empty(0), RULE)
    assert len(learnt) == len(ignored) == 0


def as_tubes(*tubes) -> TubeSet:
    """From (video, label, first, x positions)."""
    boxes = [[x, 10, x + 30, 40] for _, _, _, xs in tubes for x in xs]
    length = np.array([len(xs) for *_, xs in tubes])
    video, label, begin = (np.array([tube[i] for tube in tubes], np.int64) for i in range(3))
    return TubeSet(
        video, label, np.ones(len(tubes), np.float32), begin, begin + length - 1,
        np.cumsum(length) - length, np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(boxes), np.float32), np.ones(len(boxes), bool),
    )  # fmt: skip


@pytest.mark.parametrize('seed', range(5))
def test_quality_is_that_of_a_count_box_by_box(seed):
    rng = np.random.default_rng(seed)

    def some(number):
        return as_tubes(
            *(
                (rng.integers(2), rng.integers(2), rng.integers(1, 20), 5.0 * rng.integers(0, 6, 8))
                for _ in range(number)
            )
        )

    gt = GroundTruth(['a', 'b'], ['v', 'w'], np.array([40, 40]), some(3))
    learnt, ignored = some(3), some(2)
    truth, here, other = rows(gt.tubes), rows(learnt), rows(ignored)

    def near(row, side, same_class):
        return any(
            row[:2] == r[:2] and iou(row[3], r[3]) >= 0.5 and (not same_class or row[2] == r[2])
            for r in side
        )

    found = label_quality(learnt, ignored, gt)
    right = [near(row, truth, True) for row in here]
    frames = {row[:2] for row in truth}
    quiet = {(v, f) for v in (0, 1) for f in range(1, 41)} - {row[:2] for row in here + other}
    hit = [near(row, here, True) for row in truth]
    expected = dict(
        boxes=len(here),
        precision=100 * np.mean(right),
        wrong_class=100
        * np.mean([near(row, truth, False) and not r for row, r in zip(here, right, strict=True)]),
        idle=100 * np.mean([row[:2] not in frames for row in here]),
        recall=100 * np.mean(hit),
        recall_with_ignored=100
        * np.mean([h or near(row, other, False) for row, h in zip(truth, hit, strict=True)]),
        ignored_boxes=len(other),
        background=len(quiet),
        missed=100 * np.mean([frame in frames for frame in quiet]),
    )
    assert found == pytest.approx(expected)
