"""Mean maps of clips from segments, against the clips one by one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.models.backbones.clip_windows import ClipWindows
from mmstal_da.models.backbones.segments import find_segments, mean_maps
from tests.model_builders import build_detector, collate
from tests.test_models.test_clip_windows import clips_of_a_video
from tests.test_models.test_padding import FROZEN, roused


def windows(frames: int, keys, length: int, interval: int) -> np.ndarray:
    """Clips of a video, clamped at its ends, as rows of the frames that they use."""
    index = np.asarray(keys)[:, None] + (np.arange(length) - length // 2) * interval
    return np.clip(index, 0, frames - 1)


def averaging(clip: torch.Tensor) -> torch.Tensor:
    """A network over time without padding: means of four frames."""
    return F.avg_pool3d(clip, (4, 1, 1), (4, 1, 1))


def one_by_one(clips: ClipWindows) -> torch.Tensor:
    return torch.cat([averaging(clip[None]).mean(2) for clip in clips.clips()])


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 60), first=st.integers(0, 59), count=st.integers(1, 20),
    length=st.sampled_from([4, 8, 20]), seed=st.integers(0, 9),
)  # fmt: skip
def test_with_all_phases_it_is_exact_for_a_network_without_padding(
    frames, first, count, length, seed
):
    keys = np.arange(first, first + count) % frames
    video = np.random.default_rng(seed).standard_normal((frames, 3, 2, 3)).astype(np.float32)
    clips = ClipWindows(torch.from_numpy(video), windows(frames, np.sort(keys), length, 1))
    expected = one_by_one(clips)
    torch.testing.assert_close(mean_maps(averaging, clips, 4, phases=4), expected)


@pytest.mark.parametrize('phases', [1, 2])
@pytest.mark.parametrize('interval', [1, 2, 3])
def test_between_two_maps_it_is_linear(phases, interval):
    """Frames whose values rise with time: interpolation is exact away from the video's ends."""
    rising = torch.arange(80.0)[:, None, None, None].expand(80, 3, 1, 1)
    clips = ClipWindows(rising, windows(80, np.arange(30, 50), 8, interval))
    found = mean_maps(averaging, clips, 4, phases)
    whole = slice(0, 20 - 3 * interval)  # the last would need frames behind the segment
    torch.testing.assert_close(found[whole], one_by_one(clips)[whole])


def test_segments_are_videos_and_steps_of_frames():
    one = windows(40, np.arange(10, 16), 8, 2)
    other = 40 + windows(20, np.arange(8, 12), 8, 2)
    segments = find_segments(np.concatenate([one, other]))
    assert sorted(len(s.clips) for s in segments) == [2, 2, 3, 3]
    assert sorted(np.concatenate([s.clips for s in segments]).tolist()) == list(range(10))
    for segment in segments:
        steps = np.diff(segment.frames)
        assert (steps == 2).all()


def test_a_clip_alone_in_its_video_is_a_segment():
    index = windows(3, [1], 8, 1)
    (segment,) = find_segments(index)
    assert segment.frames.tolist() == index[0].tolist()
    clips = ClipWindows(torch.randn(3, 3, 1, 1), index)
    torch.testing.assert_close(mean_maps(averaging, clips, 4), one_by_one(clips))


def test_i3d_runs_over_far_fewer_frames(monkeypatch):
    net = roused(InceptionI3D(width=0.125)).eval()
    rows = []
    original = InceptionI3D.forward
    monkeypatch.setattr(
        InceptionI3D, 'forward', lambda self, x: rows.append(x.shape[2]) or original(self, x)
    )
    clips = ClipWindows(torch.randn(64, 3, 32, 48), windows(64, np.arange(64), 20, 1))
    with torch.no_grad():
        found = mean_maps(net, clips, net.time_stride)
    assert net.time_stride == 4 and sum(rows) < 64 + 2 * 20 + 8
    assert found.shape == (64, net.out_channels, 2, 3)


@pytest.mark.parametrize('size', [(48, 64), (41, 53)])
def test_the_detector_takes_segments_where_the_config_says_so(size):
    changes = {**FROZEN, 'test_cfg.rcnn.score_thr': 0.0, 'test_cfg.rpn.max_per_img': 12}
    found = []
    for more in ({}, {'test_cfg.segment_phases': 1}, {'test_cfg.min_objectness': 1.0}):
        detector = roused(build_detector(**changes, **more)).eval()
        data = detector.data_preprocessor(collate(clips_of_a_video(size)), False)
        with torch.no_grad():
            found.append(detector.predict(data['inputs'], data['data_samples']))
    exact, fast, none = found
    assert all(len(sample.pred_instances) for sample in fast)
    assert not torch.equal(fast[0].pred_instances.scores, exact[0].pred_instances.scores)
    assert not any(len(sample.pred_instances) for sample in none)
