"""Resampled test sets are scored as if they had been written down; intervals hold a known gap."""

import numpy as np
import pytest

from mmstal_da.evaluation.functional import (
    Detections,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
)
from mmstal_da.evaluation.functional.bootstrap import paired_bootstrap, resample_videos

LENGTH = 20


def truth_of(num_videos: int) -> dict:
    """Videos of one tube each; classes take turns; tubes begin at frames 1 to 3."""
    tubes = {}
    for number in range(num_videos):
        frames = np.arange(1 + number % 3, LENGTH + 1)
        box = np.tile([10.0 + number, 10, 30 + number, 40], (len(frames), 1))
        tubes[f'v{number}'] = {number % 2: [np.column_stack((frames, box))]}
    names = list(tubes)
    return dict(labels=['a', 'b'], videos=names, gttubes=tubes,
                nframes=dict.fromkeys(names, LENGTH))  # fmt: skip


def found_in(gt: dict, hit: float, rng: np.random.Generator) -> np.ndarray:
    """A detection per frame; in a share ``hit`` of the videos it is on the actor."""
    rows = []
    for number, by_label in enumerate(gt['gttubes'].values()):
        ((label, (tube,)),) = by_label.items()
        shift = 0 if rng.random() < hit else 100
        for frame, *box in tube:
            rows.append([number, frame, label, rng.uniform(0.5, 1), *(v + shift for v in box)])
    return np.array(rows)


def test_a_resampled_set_is_scored_as_one_that_is_written_down():
    rng = np.random.default_rng(0)
    gt = truth_of(7)
    rows = found_in(gt, 0.6, rng)
    parsed = parse_ground_truth(gt)
    dets = parse_detections(rows, parsed)
    for _ in range(10):
        chosen = rng.integers(7, size=9)
        names = [f'{place}' for place in range(9)]
        written = dict(
            labels=gt['labels'], videos=names, nframes=dict.fromkeys(names, LENGTH),
            gttubes={name: gt['gttubes'][f'v{c}'] for name, c in zip(names, chosen, strict=True)},
        )  # fmt: skip
        again = [
            [place, *row[1:]]
            for place, video in enumerate(chosen)
            for row in rows[rows[:, 0] == video]
        ]
        expected_truth = parse_ground_truth(written)
        expected = evaluate_detections(
            parse_detections(np.array(again), expected_truth), expected_truth
        )
        found = evaluate_detections(*resample_videos(dets, parsed, chosen))
        for key in expected:
            if 'AP@' in key:
                assert found[key] == pytest.approx(expected[key], nan_ok=True), key


def test_all_videos_once_is_the_set_itself():
    gt = truth_of(5)
    parsed = parse_ground_truth(gt)
    dets = parse_detections(found_in(gt, 0.5, np.random.default_rng(1)), parsed)
    same, truth = resample_videos(dets, parsed, np.arange(5))
    for name in ('video', 'frame', 'label', 'score', 'boxes'):
        np.testing.assert_array_equal(getattr(same, name), getattr(dets, name))
    np.testing.assert_array_equal(truth.num_frames, parsed.num_frames)
    for one, other in zip(truth.rows(), parsed.rows(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_clear_gap_is_found_and_none_is_made_up():
    rng = np.random.default_rng(2)
    gt = truth_of(24)
    parsed = parse_ground_truth(gt)
    weak = parse_detections(found_in(gt, 0.3, rng), parsed)
    strong = parse_detections(found_in(gt, 0.9, rng), parsed)
    protocol = get_protocol('act')
    better, same = paired_bootstrap([weak, strong, weak], parsed, protocol, rounds=60)
    metric = 'frame_mAP@0.5'
    assert 0 < better[metric]['low'] < better[metric]['difference'] < better[metric]['high']
    assert better[metric]['share'] == 1
    assert same[metric] == dict(difference=0.0, low=0.0, high=0.0, share=0.0)
    repeated, _ = paired_bootstrap([weak, strong, weak], parsed, protocol, rounds=60)
    assert repeated == better
    none = Detections.from_rows(np.zeros((0, 8)))
    (empty,) = paired_bootstrap([weak, none], parsed, protocol, rounds=10)
    assert empty[metric]['high'] <= 0
