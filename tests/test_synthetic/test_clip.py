"""Rendered clips and their boxes."""

from dataclasses import replace

import av
import numpy as np
import pytest

from mmstal_da.synthetic import (
    ACTIONS,
    ClipSettings,
    Shift,
    render_clip,
    sample_clip,
)
from mmstal_da.synthetic.clip import mask_to_box
from mmstal_da.video.writer import write_video
from tests.test_synthetic.cases import FULL_SHIFT, SMALL, seed


@pytest.mark.slow
@pytest.mark.parametrize('shift', [Shift(), FULL_SHIFT], ids=['source', 'target'])
@pytest.mark.parametrize('label', ACTIONS)
def test_every_frame_has_a_box_within_the_frame(label, shift):
    settings = replace(SMALL, min_frames=24, max_frames=24, second_actor=0.5)
    clip = sample_clip(label, seed(3), settings, shift)
    frames, tubes = render_clip(clip)
    assert frames.shape == (24, 48, 64, 3)
    assert len(tubes) == len(clip.actors)
    for numbers, boxes in tubes:
        assert numbers.tolist() == list(range(1, 25))
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] < (64, 48)).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= (4, 8)).all()
        assert np.abs(np.diff(boxes, axis=0)).max() < 16  # nothing jumps


@pytest.mark.parametrize('label', ['push', 'squat', 'walk'])
def test_boxes_match_the_pixels_of_the_decoded_video(label, tmp_path):
    settings = ClipSettings(second_actor=0, distractor=0, min_frames=24, max_frames=24)
    clip = sample_clip(label, seed(7), settings, Shift(camera=1))
    # a yellow actor without shadow or grain before a dark scene, and the same scene without it
    actor = clip.actors[0]
    bright = replace(
        actor.outfit, **dict.fromkeys(('shirt', 'trousers', 'skin', 'hair', 'shoes'), (255,) * 3)
    )
    look = replace(clip.look, grain=0.0, contrast=1.0, gains=(1.0, 1.0, 1.0))
    clip = replace(
        clip, actors=(replace(actor, outfit=bright),), look=look, shadow=0.0,
        background=np.zeros_like(clip.background),
    )  # fmt: skip
    frames, [(numbers, boxes)] = render_clip(clip)
    write_video(tmp_path / 'clip.mp4', frames, fps=25)
    with av.open(str(tmp_path / 'clip.mp4')) as container:
        decoded = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(decoded) == 24 == len(numbers)
    errors = []
    for image, box in zip(decoded, boxes, strict=True):
        # the outline has 0.45 of the fill's brightness, half of it at half coverage
        rows, columns = np.nonzero(image.mean(-1) > 0.45 * 255 / 2)
        found = columns.min(), rows.min(), columns.max(), rows.max()
        errors.append(np.abs(np.subtract(found, box)))
    assert np.max(errors) <= 1  # compression blurs edges by at most a pixel
    assert np.mean(errors) < 0.2


def test_mask_to_box_has_inclusive_ends():
    mask = np.zeros((6, 8), bool)
    assert mask_to_box(mask) is None
    mask[2:5, 3] = mask[4, 6] = True
    assert mask_to_box(mask) == (3, 2, 6, 4)


@pytest.mark.slow
def test_untrimmed_clips_have_background_frames_around_the_action():
    settings = replace(SMALL, untrimmed=True, min_frames=10, max_frames=10, second_actor=0.0)
    shown = set()
    for index in range(8):
        clip = sample_clip('push', seed(index), settings, Shift())
        frames, [(numbers, _)] = render_clip(clip)
        start, end = clip.actors[0].active
        assert numbers.tolist() == list(range(start + 1, end + 1))
        assert 8 <= start <= 24
        assert 8 <= len(frames) - end <= 24
        shown.add(clip.actors[0].present[0] == 0)
    assert shown == {True, False}  # idling in some, absent in others


def test_clip_does_not_depend_on_earlier_ones():
    first = render_clip(sample_clip('kick', seed(2), SMALL, FULL_SHIFT))[0]
    render_clip(sample_clip('bow', seed(3), SMALL, FULL_SHIFT))
    assert np.array_equal(first, render_clip(sample_clip('kick', seed(2), SMALL, FULL_SHIFT))[0])
    assert not np.array_equal(
        first[:6], render_clip(sample_clip('kick', seed(4), SMALL, FULL_SHIFT))[0][:6]
    )
