"""Fog, low light and noise: steady, reproducible, and as the formulas say."""

import numpy as np
import pytest

from mmstal_da.datasets.transforms import DegradeFrames


def degrade(imgs, video='a/b', frames=None, **strengths):
    frames = np.arange(1, len(imgs) + 1) if frames is None else np.array(frames)
    results = dict(imgs=list(imgs), frame_inds=frames, video_name=video)
    return DegradeFrames(**strengths).transform(results)['imgs']


@pytest.fixture()
def clip():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return [frame.copy() for _ in range(3)]


def test_strength_zero_changes_nothing(clip):
    assert all(np.array_equal(a, b) for a, b in zip(degrade(clip), clip, strict=True))


def test_fog_and_light_are_steady_and_the_video_s_own(clip):
    a = degrade(clip, fog=0.7, low_light=0.5)
    assert all(np.array_equal(a[0], img) for img in a)
    b = degrade(clip, video='a/c', fog=0.7, low_light=0.5)
    assert not np.array_equal(a[0], b[0])
    c = degrade(clip, fog=0.7, low_light=0.5, seed=1)
    assert not np.array_equal(a[0], c[0])


def test_noise_differs_from_frame_to_frame_and_not_from_reading_to_reading(clip):
    a = degrade(clip, noise=1.0)
    assert not np.array_equal(a[0], a[1])
    b = degrade(clip[:2], frames=[2, 3], noise=1.0)
    assert np.array_equal(a[1], b[0])
    assert np.array_equal(a[2], b[1])


def test_noise_has_the_strength_it_says(clip):
    grey = [np.full((240, 320, 3), 128, np.uint8)]
    sigmas = [float(np.std(degrade(grey, video=f'v/{i}', noise=0.5)[0])) for i in range(20)]
    assert min(sigmas) > 255 * 0.5 * 0.08 - 1
    assert max(sigmas) < 255 * 0.5 * 0.16 + 1


def test_low_light_is_a_gamma():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, -1, 1).repeat(3, 2)
    (dark,) = degrade([ramp], low_light=1.0)
    gammas = np.log(dark[0, 64:250, 0] / 255) / np.log(np.arange(64, 250) / 255)
    assert 1.8 - 0.05 < gammas.mean() < 2.6 + 0.05
    assert np.ptp(gammas) < 0.25  # rounding to bytes


def test_fog_is_denser_above_and_pulls_to_one_colour():
    black = [np.zeros((120, 160, 3), np.uint8)]
    white = [np.full((120, 160, 3), 255, np.uint8)]
    (low,), (high,) = degrade(black, fog=1.0), degrade(white, fog=1.0)
    left = (high.astype(float) - low)[..., 0] / 255  # the transmission
    assert left[:20].mean() < left[-20:].mean() < 1
    assert (left >= np.exp(-2.4) - 0.02).all()
    assert low.mean() > 30


def test_fog_is_the_scene_through_a_transmission_plus_one_air_light():
    """``x t + A (1 - t)``: t from two greys far from clipping, then A is one colour."""
    dark, grey = (np.full((120, 160, 3), value, np.uint8) for value in (0, 40))
    (low,), (high,) = degrade([dark], fog=1.0), degrade([grey], fog=1.0)
    seen = (high.astype(float) - low) / 40
    assert seen.min() > np.exp(-2.4) - 0.03 and seen.max() < np.exp(-1.2 * 0.12) + 0.03
    thick = seen < 0.6  # where A is not lost in rounding
    air = low[thick] / (1 - seen[thick])
    assert thick.any() and np.ptp(air) < 45 and 180 < air.mean() < 250


def test_a_negative_strength_is_refused():
    with pytest.raises(ValueError, match='fog is a finite number of at least 0, not -1'):
        DegradeFrames(fog=-1)
