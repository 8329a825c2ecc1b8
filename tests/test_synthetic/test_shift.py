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
    for part in ('appearance', 'background', 'camera', 'tempo', 'size', 'camouflage'):
        shifted = sample_clip(label, seed(5), SMALL, replace(Shift(), **{part: 1.0}))
        changed = {
            'appearance': (shifted.actors[0].outfit.thickness, shifted.look)
            != (source.actors[0].outfit.thickness, source.look),
            'background': not np.array_equal(shifted.background, source.background),
            'camera': not np.array_equal(shifted.camera, source.camera),
            'tempo': shifted.actors[0].tempo != source.actors[0].tempo,
            'size': shifted.actors[0].height != source.actors[0].height,
            # colours of clothes alone
            'camouflage': shifted.actors[0].outfit != source.actors[0].outfit
            and shifted.look == source.look,
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


def test_small_actors_are_half_as_high():
    heights = [
        [sample_clip('push', seed(i), SMALL, Shift(size=s)).actors[0].height / SMALL.height
         for i in range(20)]
        for s in (0, 1)
    ]  # fmt: skip
    assert 0.56 <= min(heights[0]) <= max(heights[0]) <= 0.72
    assert 0.28 <= min(heights[1]) <= max(heights[1]) <= 0.36


def test_camouflage_brings_clothes_to_the_colour_behind_them():
    def distance(strength):
        found = []
        for i in range(10):
            clip = sample_clip('wave', seed(i), SMALL, Shift(camouflage=strength))
            for actor in clip.actors:  # the scene behind an actor, read off by hand
                x, y = (int(value) + clip.margin for value in actor.ground)
                wide = int(0.2 * actor.height)
                area = clip.background[y - int(actor.height) : y, x - wide : x + wide]
                behind = area.reshape(-1, 3).mean(0)
                clothes = (actor.outfit.shirt, actor.outfit.trousers, actor.outfit.shoes)
                found += [np.array(colour) - behind for colour in clothes]
        return np.array(found)

    np.testing.assert_allclose(distance(1), 0.2 * distance(0), atol=1e-3)
    np.testing.assert_allclose(distance(0.5), 0.6 * distance(0), atol=1e-3)


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
