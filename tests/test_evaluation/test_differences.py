"""Scores video by video, against an evaluation of each video alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.functional import get_protocol, parse_detections, parse_ground_truth
from mmstal_da.evaluation.functional.differences import typical_videos, video_differences
from tests import reference_evaluator as per_detection
from tests.evaluation_cases import random_case


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), background=st.booleans())
def test_every_video_has_its_own_score(seed, background):
    gt, first = random_case(seed, num_videos=4, max_frames=25, num_dets=150)
    rng = np.random.default_rng(seed)
    second = first[rng.random(len(first)) < 0.6]
    protocol = get_protocol('act', ties='stable', min_length=2)
    truth = parse_ground_truth(gt)
    runs = [parse_detections(rows, truth) for rows in (first, second)]
    found = video_differences(*runs, truth, protocol, background)
    with_tubes = [v for v, name in enumerate(gt['videos']) if any(gt['gttubes'][name].values())]
    assert sorted(item.video for item in found) == with_tubes
    for item in found:
        name = gt['videos'][item.video]
        alone = {**gt, 'videos': [name]}
        for run, rows in enumerate((first, second)):
            own = rows[rows[:, 0] == item.video]
            own[:, 0] = 0
            expected = per_detection.evaluate(own, alone, protocol, background)
            assert item.frame_ap[run] == pytest.approx(expected['frame_mAP@0.5'], abs=1e-4)
            assert item.video_ap[run] == pytest.approx(expected['video_mAP@0.5'], abs=1e-4)
    keys = [(-abs(item.frames), -abs(item.tubes)) for item in found]
    assert keys == sorted(keys)


def test_the_sign_says_who_is_ahead():
    gt, rows = random_case(3, max_frames=25, num_dets=150)
    truth = parse_ground_truth(gt)
    nothing, all_of_them = (parse_detections(r, truth) for r in (rows[:0], rows))
    ahead = video_differences(nothing, all_of_them, truth)
    behind = video_differences(all_of_them, nothing, truth)
    assert ahead[0].frames > 0 and [-a.frames for a in ahead] == [b.frames for b in behind]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_typical_videos_are_near_the_median_of_their_class(seed):
    gt, first = random_case(seed, num_videos=6, max_frames=25, num_dets=150)
    second = first[np.random.default_rng(seed).random(len(first)) < 0.6]
    truth = parse_ground_truth(gt)
    differences = video_differences(
        *(parse_detections(rows, truth) for rows in (first, second)), truth
    )
    gains = {item.video: item.frames for item in differences}
    found = typical_videos(differences, truth)
    assert len(found) == len(gt['labels'])
    for label, videos in enumerate(found):
        of_class = [v for v, name in enumerate(gt['videos']) if gt['gttubes'][name].get(label)]
        assert sorted(videos) == of_class
        ordered = sorted(gains[v] for v in of_class)
        count = len(ordered)
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2 if count else 0
        distances = [abs(gains[v] - middle) for v in videos]
        assert distances == pytest.approx(sorted(distances))
