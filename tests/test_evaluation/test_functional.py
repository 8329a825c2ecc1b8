"""Pieces of the evaluator against values worked out by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import (
    Detections,
    average_precision,
    box_iou,
    build_tubes,
    get_protocol,
    greedy_match,
    link_boxes,
    mean_over_classes,
    nms,
    paired_iou,
    precision_recall,
    temporal_iou,
    tube_iou,
    viterbi_labels,
)
from mmstal_da.evaluation.functional.nms import suppress_pairs
from mmstal_da.evaluation.functional.segments import (
    batches_by_size,
    chunks,
    expand_products,
    expand_ranges,
    find_keys,
    group_starts,
    stable_argsort,
)
from mmstal_da.evaluation.functional.tubes import TubeSet, fill_gaps
from mmstal_da.evaluation.functional.video_ap import suppress_tubes


def one_tube(frames, boxes, interpolate=False) -> TubeSet:
    frames = np.array(frames)
    return fill_gaps(
        np.zeros(1, int),
        np.zeros(1, int),
        np.ones(1, np.float32),
        np.array([0, len(frames)]),
        frames,
        np.array(boxes, np.float32),
        np.ones(len(frames), np.float32),
        interpolate,
    )


class TestIou:
    def test_inclusive_and_continuous_boxes(self):
        a, b = [0, 0, 9, 9], [5, 0, 14, 9]
        assert paired_iou(a, b) == pytest.approx(50 / 150)  # 10 x 10 pixels each, 5 columns shared
        assert paired_iou(a, b, pixel=0) == pytest.approx(36 / (81 + 81 - 36))

    def test_touching_boxes_share_pixels_only_if_inclusive(self):
        assert paired_iou([0, 0, 4, 4], [4, 0, 8, 4]) == pytest.approx(5 / 45)
        assert paired_iou([0, 0, 4, 4], [4, 0, 8, 4], pixel=0) == 0

    def test_empty_continuous_boxes_do_not_divide_by_zero(self):
        assert paired_iou([3, 3, 3, 3], [3, 3, 3, 3], pixel=0) == 0
        assert paired_iou([3, 3, 3, 3], [3, 3, 3, 3], pixel=1) == 1

    def test_matrix(self):
        boxes = np.array([[0, 0, 9, 9], [5, 0, 14, 9], [20, 20, 29, 29]])
        iou = box_iou(boxes, boxes[:2])
        assert iou.dtype == np.float32
        np.testing.assert_allclose(iou, [[1, 1 / 3], [1 / 3, 1], [0, 0]], rtol=1e-6)


class TestNms:
    boxes = np.array([[0, 0, 99, 99], [0, 0, 99, 89], [0, 0, 99, 69], [200, 200, 210, 210]])
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)

    def test_soft_multiplies_once_by_the_box_that_removes_it(self):
        # IoU to the first: 0.9 and 0.7. The second leaves the queue, so it cannot touch the third
        # a second time, with which it overlaps by 7/9.
        np.testing.assert_allclose(
            nms(self.boxes, self.scores), [0.9, 0.8 * 0.1, 0.7 * 0.3, 0.6], rtol=1e-5
        )

    def test_threshold_is_exclusive(self):
        boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 5]])  # IoU exactly 0.6
        np.testing.assert_array_equal(nms(boxes, self.scores[:2]), self.scores[:2])

    def test_hard_removes(self):
        np.testing.assert_array_equal(
            np.isfinite(nms(self.boxes, self.scores, method='hard')), [True, False, False, True]
        )

    def test_no_boxes(self):
        assert nms(np.zeros((0, 4)), np.zeros(0)).shape == (0,)

    def test_pairs_of_a_chain(self):
        # 0 beats 1, 1 would beat 2, 2 would beat 3: 0 and 2 stay
        kept = suppress_pairs(np.array([0, 1, 2]), np.array([1, 2, 3]), 4)
        np.testing.assert_array_equal(kept, [True, False, True, False])


class TestMatching:
    def test_takes_the_unmatched_box_of_highest_iou(self):
        # the best detection takes gt 1; the second wanted it too and falls back on gt 0
        matched = greedy_match(
            group=np.array([7, 7, 7, 7]),
            rank=np.array([0, 0, 1, 1]),
            gt=np.array([0, 1, 0, 1]),
            iou=np.array([0.6, 0.8, 0.55, 0.9]),
        )
        assert sorted(matched.tolist()) == [0, 1]

    def test_second_detection_of_one_box_is_false(self):
        matched = greedy_match(
            np.array([3, 3, 5]), np.array([4, 2, 9]), np.array([0, 0, 1]), np.array([0.9, 0.5, 0.5])
        )
        assert sorted(matched.tolist()) == [2, 9]

    def test_nothing(self):
        assert greedy_match(*[np.zeros(0, int)] * 3, np.zeros(0)).size == 0


class TestAp:
    flags = np.array([True, False, True, False])

    def test_curve(self):
        precision, recall = precision_recall(self.flags, 4)
        np.testing.assert_allclose(precision, [1, 1, 1 / 2, 2 / 3, 1 / 2])
        np.testing.assert_allclose(recall, [0, 0.25, 0.25, 0.5, 0.5])

    def test_trapezoid_by_hand(self):
        # 0.25 * (1 + 1) / 2 + 0.25 * (1/2 + 2/3) / 2
        assert average_precision(self.flags, 4) == pytest.approx(0.25 + 0.25 * 7 / 12)

    def test_envelope_by_hand(self):
        assert average_precision(self.flags, 4, 'envelope') == pytest.approx(0.25 + 0.25 * 2 / 3)

    @given(st.lists(st.booleans(), max_size=30), st.integers(0, 5))
    def test_envelope_is_the_area_under_the_best_precision_beyond(self, flags, missed):
        total = sum(flags) + missed
        if not total:
            assert np.isnan(average_precision(np.array(flags, bool), 0, 'envelope'))
            return
        precision, recall = precision_recall(np.array(flags, bool), total)
        area = 0
        for k in range(1, total + 1):  # every ground-truth box adds a step of 1 / total
            beyond = precision[recall >= k / total - 1e-12]
            area += max(beyond, default=0) / total
        assert average_precision(np.array(flags, bool), total, 'envelope') == pytest.approx(area)

    def test_without_detections_and_without_ground_truth(self):
        assert average_precision(np.zeros(0, bool), 3) == 0
        assert average_precision(np.zeros(0, bool), 3, 'envelope') == 0
        assert np.isnan(average_precision(self.flags, 0))
        assert mean_over_classes([0.5, float('nan'), 0.1]) == pytest.approx(0.3)
        assert np.isnan(mean_over_classes([float('nan')]))


class TestTubes:
    def test_iou_is_spatial_mean_times_temporal(self):
        box, half = [0, 0, 9, 9], [0, 0, 9, 4]
        a = one_tube([1, 2, 3, 4], [box] * 4)
        b = one_tube([3, 4, 5, 6], [box, half, box, box])
        zero = np.zeros(1, int)
        assert temporal_iou(a, b, zero, zero) == pytest.approx(2 / 6)
        assert tube_iou(a, b, zero, zero) == pytest.approx(0.75 * 2 / 6)

    def test_one_common_frame_counts(self):
        a, b = one_tube([1, 2], [[0, 0, 9, 9]] * 2), one_tube([2, 3], [[0, 0, 9, 9]] * 2)
        zero = np.zeros(1, int)
        assert tube_iou(a, b, zero, zero) == pytest.approx(1 / 3)

    def test_apart_in_time_or_with_gaps_where_the_other_is(self):
        zero = np.zeros(1, int)
        a, b = one_tube([1, 2], [[0, 0, 9, 9]] * 2), one_tube([3, 4], [[0, 0, 9, 9]] * 2)
        assert tube_iou(a, b, zero, zero) == 0
        gap = one_tube([2, 5], [[0, 0, 9, 9]] * 2)
        assert tube_iou(gap, b, zero, zero) == 0

    def test_gaps_are_filled_linearly(self):
        tube = one_tube([2, 5], [[0, 0, 9, 9], [30, 3, 39, 12]], interpolate=True)
        np.testing.assert_allclose(tube.boxes[:, 0], [0, 10, 20, 30], rtol=1e-6)
        assert tube.valid.all()
        assert (tube.begin[0], tube.end[0]) == (2, 5)

    def test_nms_spares_a_tube_at_the_threshold(self):
        frames, box, part = range(1, 21), [0, 0, 9, 9], [0, 0, 9, 2]  # IoU exactly 0.3
        tubes = TubeSet.concatenate([one_tube(frames, [box] * 20), one_tube(frames, [part] * 20)])
        assert len(suppress_tubes(tubes, get_protocol())) == 2
        assert len(suppress_tubes(tubes, get_protocol(tube_nms_iou=0.29))) == 1


class TestLinking:
    @staticmethod
    def link(frames, boxes, scores, **constants):
        protocol = get_protocol('act', min_length=1, min_score=0.0, **constants)
        frames, scores = np.array(frames), np.array(scores, np.float32)
        boxes = np.array(boxes, np.float32)
        order, offsets = link_boxes(np.zeros(len(frames), int), frames, boxes, scores, protocol)
        return [order[a:b].tolist() for a, b in itertools.pairwise(offsets)]

    def test_takes_the_best_scoring_overlapping_box_not_the_nearest(self):
        boxes = [[0, 0, 9, 9], [2, 0, 11, 9], [0, 0, 9, 9]]
        assert self.link([1, 2, 2], boxes, [0.5, 0.9, 0.8]) == [[0, 1], [2]]

    def test_better_tube_chooses_first(self):
        boxes = [[0, 0, 9, 9], [1, 0, 10, 9], [1, 0, 10, 9], [30, 0, 39, 9]]
        # frame 1: two tubes, scores 0.9 and 0.4; frame 2: one box for both
        assert self.link([1, 1, 2, 2], boxes, [0.9, 0.4, 0.6, 0.3]) == [[0, 2], [1], [3]]

    def test_order_follows_the_mean_not_the_last_score(self):
        left, right = [0, 0, 9, 9], [3, 0, 12, 9]
        # after two frames: tube of row 0 (0.9, 0.2), tube of row 1 (0.4, 0.5): means 0.55 and 0.45
        frames = [1, 1, 2, 2, 3]
        boxes = [left, [100, 0, 109, 9], [100, 0, 109, 9], left, right]
        tubes = self.link(frames, boxes, [0.9, 0.4, 0.5, 0.2, 0.8], link_iou=0.5)
        assert [0, 3, 4] in tubes

    def test_a_missed_frame_ends_the_tube_unless_the_gap_allows_it(self):
        boxes = [[0, 0, 9, 9]] * 3
        assert self.link([1, 2, 4], boxes, [0.5] * 3) == [[0, 1], [2]]
        assert self.link([1, 2, 4], boxes, [0.5] * 3, max_gap=2) == [[0, 1, 2]]
        assert self.link([1, 2, 5], boxes, [0.5] * 3, max_gap=2) == [[0, 1], [2]]

    def test_threshold_is_inclusive(self):
        boxes = [[0, 0, 9, 9], [0, 0, 9, 4]]  # IoU exactly 0.5
        assert self.link([1, 2], boxes, [0.5] * 2) == [[0, 1]]

    def test_weak_and_short_tubes_are_dropped(self):
        def build(length, score):
            rows = [[0, frame, 0, score, 0, 0, 9, 9] for frame in range(1, length + 1)]
            return build_tubes(Detections.from_rows(np.array(rows)), get_protocol())

        assert len(build(14, 0.5)) == 0
        assert len(build(15, 0.004)) == 0
        tubes = build(15, 0.5)
        assert (len(tubes), tubes.score[0], tubes.end[0]) == (1, 0.5, 15)


class TestViterbi:
    @settings(deadline=None)
    @given(
        st.lists(
            st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=8),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from([0.0, 0.25, 0.7, 3.0]),
    )
    def test_no_labelling_scores_higher(self, sequences, penalty):
        offsets = np.cumsum([0] + [len(s) for s in sequences])
        labels = viterbi_labels(np.concatenate(sequences), offsets, penalty)

        def energy(scores, chosen):
            gain = sum(s if c else 1 - s for s, c in zip(scores, chosen, strict=True))
            changes = sum(a != b for a, b in itertools.pairwise(chosen))
            return gain - penalty * changes

        for i, scores in enumerate(sequences):
            found = labels[offsets[i] : offsets[i + 1]].tolist()
            best = max(energy(scores, c) for c in itertools.product((0, 1), repeat=len(scores)))
            assert energy(scores, found) == pytest.approx(best)

    def test_ties_go_to_action(self):
        labels = viterbi_labels(np.array([0.5, 0.1, 0.5]), np.array([0, 2, 3]), 0.0)
        np.testing.assert_array_equal(labels, [True, False, True])

    def test_a_penalty_bridges_a_dip(self):
        scores = np.array([0.9, 0.9, 0.4, 0.9, 0.1, 0.1, 0.1])
        offsets = np.array([0, 7])
        np.testing.assert_array_equal(viterbi_labels(scores, offsets, 0.0), [1, 1, 0, 1, 0, 0, 0])
        np.testing.assert_array_equal(viterbi_labels(scores, offsets, 0.3), [1, 1, 1, 1, 0, 0, 0])


class TestSegments:
    @given(st.lists(st.integers(0, 2**40), max_size=50))
    def test_stable_argsort(self, values):
        key = np.array(values, np.int64) % 997 * (np.array(values, np.int64) // 2**30 + 1)
        np.testing.assert_array_equal(stable_argsort(key), np.argsort(key, kind='stable'))

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=9))
    def test_expansions(self, pairs):
        start, count = np.array(pairs, np.int64).reshape(-1, 2).T
        expected = [s + i for s, c in pairs for i in range(c)]
        assert expand_ranges(start, count).tolist() == expected
        a, b = expand_products(start, count, start + 10, count[::-1])
        assert list(zip(a.tolist(), b.tolist(), strict=True)) == [
            (s + i, s + 10 + j)
            for (s, c), d in zip(pairs, count[::-1], strict=True)
            for i in range(c)
            for j in range(d)
        ]

    @given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 7))
    def test_chunks_and_batches_cover_everything_once(self, sizes, limit):
        count = np.array(sizes, np.int64)
        parts = list(chunks(count, limit))
        assert [i for part in parts for i in range(part.start, part.stop)] == list(
            range(len(count))
        )
        for part in parts:
            assert count[part].sum() <= limit or part.stop - part.start == 1
        seen = []
        for size, groups in batches_by_size(count, limit):
            assert (count[groups] == size).all()
            seen += groups.tolist()
        assert sorted(seen) == np.flatnonzero(count).tolist()

    def test_groups_and_keys(self):
        assert group_starts(np.array([2, 2, 5, 7, 7])).tolist() == [0, 2, 3, 5]
        assert group_starts(np.zeros(0, int)).tolist() == [0]
        found, place = find_keys(np.array([2, 5, 7]), np.array([1, 7, 2, 9]))
        assert (found.tolist(), place.tolist()) == ([1, 2], [2, 0])
        assert find_keys(np.zeros(0, int), np.array([1]))[0].size == 0


class TestProtocol:
    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match='unknown protocol'):
            get_protocol('coco')
        with pytest.raises(ValueError, match='max_gaps'):
            get_protocol('act', max_gaps=2)
        with pytest.raises(ValueError, match='max_gap is a whole number'):
            get_protocol('act', max_gap=0)

    def test_overrides_are_part_of_the_name(self):
        assert get_protocol('act', max_gap=1).name == 'act'
        assert get_protocol('voc', max_gap=3).name == 'voc(max_gap=3)'

    def test_average_goes_over_ten_thresholds(self):
        assert get_protocol().video_iou_steps == [
            0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95
        ]  # fmt: skip
