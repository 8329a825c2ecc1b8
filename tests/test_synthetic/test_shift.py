"""The shift between the synthetic domains."""

from dataclasses import replace

import numpy as np
import pytest

from mmstal_da.synthetic import (
    ACTIONS,
    ClipSettings,
    Shift,
    SyntheticConfig,
    render_clip,
    sample_clip,
)
from mmstal_da.synthetic.camera import apply_affine, sample_camera
from mmstal_da.synthetic.motions import VARIANTS
from tests.test_synthetic.cases import SMALL, seed


@pytest.mark.parametrize('label', ['push', 'wave'])
def test_zero_strength_is_the_source_and_each_part_changes_its_own(label):
    source = sample_clip(label, seed(5), SMALL, Shift())
    frames, tubes = render_clip(source)
    again, tubes_again = render_clip(sample_clip(label, seed(5), SMALL, Shift(0, 0, 0, 0, 0)))
    assert np.array_equal(frames, again)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(tubes, tubes_again, strict=True))
    for part in ('appearance', 'background', 'camera', 'tempo'):
        shifted = sample_clip(label, seed(5), SMALL, replace(Shift(), **{part: 1.0}))
        changed = {
            'appearance': (shifted.actors[0].outfit, shifted.look)
            != (source.actors[0].outfit, source.look),
            'background': not np.array_equal(shifted.background, source.background),
            'camera': not np.array_equal(shifted.camera, source.camera),
            'tempo': shifted.actors[0].tempo != source.actors[0].tempo,
        }
        assert changed == {name: name == part for name in changed}
        assert shifted.num_frames == source.num_frames
        assert shifted.actors[0].start == source.actors[0].start


def test_strength_moves_the_ranges():
    def tempos(strength):
        return [
            sample_clip('push', seed(i), SMALL, Shift(tempo=strength)).actors[0].tempo
            for i in range(20)
        ]

    slow, middle, fast = tempos(0), tempos(0.5), tempos(1)
    assert 0.85 <= min(slow) <= max(slow) <= 1.15
    assert 1.3 <= min(fast) <= max(fast) <= 1.8
    np.testing.assert_allclose(middle, (np.array(slow) + fast) / 2)


def test_camera_is_static_at_zero_and_bounded_at_one():
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    for index in range(5):
        rng = np.random.default_rng(index)
        assert np.allclose(sample_camera(rng, 0, 30, 128, 96), identity)
        path = sample_camera(np.random.default_rng(index), 1, 30, 128, 96)
        zoom = np.hypot(path[:, 0, 0], path[:, 0, 1])
        assert 0.85 <= zoom.min() < zoom.max() <= 1.2
        centres = np.stack([apply_affine(m, np.array([[63.5, 47.5]]))[0] for m in path])
        assert np.abs(centres - (63.5, 47.5)).max() < 0.15 * 128
        assert np.ptp(centres, axis=0).min() > 0.5


def test_semantic_shift_performs_the_variant():
    assert sample_clip('wave', seed(1), SMALL, Shift()).actors[0].action is ACTIONS['wave']
    shifted = sample_clip('wave', seed(1), SMALL, Shift(semantic=1)).actors[0]
    assert shifted.action is VARIANTS['wave']
    assert sample_clip('push', seed(1), SMALL, Shift(semantic=1)).actors[0].action.direction == 1


def test_out_of_range_parameters_are_refused():
    with pytest.raises(ValueError, match='shift in camera'):
        Shift(camera=1.5)
    with pytest.raises(ValueError, match='width'):
        ClipSettings(width=65)
    with pytest.raises(ValueError, match='min_frames'):
        ClipSettings(min_frames=9, max_frames=8)
    with pytest.raises(ValueError, match='dance'):
        SyntheticConfig(classes=('push', 'dance'))
