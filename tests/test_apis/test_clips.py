"""Clips of a stream are those that the data set's transform samples from the whole video."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.apis.clips import Window, clips_of
from mmstal_da.datasets.transforms import SampleKeyFrameClip


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    num_frames=st.integers(1, 40),
    clip_len=st.integers(1, 9),
    interval=st.integers(1, 4),
    stride=st.integers(1, 7),
)
def test_as_the_transform_samples_them(num_frames, clip_len, interval, stride):
    frames = [np.full((1, 1, 3), number, np.uint8) for number in range(1, num_frames + 1)]
    seen = list(clips_of(frames, Window(clip_len, interval), stride, lambda f: int(f[0, 0, 0])))
    transform = SampleKeyFrameClip(clip_len, interval)
    expected = []
    for key_frame in range(1, num_frames + 1, stride):
        results = transform(dict(key_frame=key_frame, total_frames=num_frames))
        expected.append((key_frame, results['frame_inds'].tolist()))
    assert seen == expected


@pytest.mark.parametrize('stride', [1, 60])
def test_a_stream_without_end_needs_no_more_frames_than_a_clip_spans(stride):
    alive = 0

    class Counted:
        def __init__(self, _):
            nonlocal alive
            alive += 1

        def __del__(self):
            nonlocal alive
            alive -= 1

    def endless():
        while True:
            yield np.zeros((1, 1, 3), np.uint8)

    clips = clips_of(endless(), Window(8, 2), stride, Counted)
    for number, (key_frame, clip) in enumerate(clips):
        assert key_frame == 1 + number * stride and len(clip) == 8
        assert alive <= 8 * 2 + 1
        if number == 100:
            break
