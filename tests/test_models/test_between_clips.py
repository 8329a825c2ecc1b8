"""Maps of every so many-th clip, interpolated between."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.models.backbones.between_clips import interpolated_maps, plan
from mmstal_da.models.backbones.clip_windows import ClipWindows
from tests.model_builders import build_detector, collate
from tests.test_models.test_clip_windows import clips_of_a_video
from tests.test_models.test_padding import FROZEN, roused

KEY_FRAMES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=25, unique=True
)


@settings(max_examples=60, deadline=None)
@given(keys=KEY_FRAMES, stride=st.integers(1, 9))
def test_the_plan_interpolates_in_time_within_a_video(keys, stride):
    """Twin: NumPy's interp over the chosen clips of each video."""
    videos, frames = np.array(keys).T
    chosen, before, after, share = plan(videos, frames, stride)
    values = np.sin(7.0 * frames + videos)
    ours = (1 - share) * values[chosen][before] + share * values[chosen][after]
    for video in np.unique(videos):
        own = np.sort(frames[chosen][videos[chosen] == video])
        here = videos == video
        expected = np.interp(frames[here], own, np.sin(7.0 * own + video))
        np.testing.assert_allclose(ours[here], expected, atol=1e-6)
        assert {frames[here].min(), frames[here].max()} <= set(own)
        assert (np.diff(own)[:-1] >= stride).all()
    assert len(np.unique(chosen)) == len(chosen)
    if stride == 1:
        assert sorted(chosen) == list(range(len(keys)))


def test_only_the_chosen_clips_are_computed():
    rows = []
    frames = torch.arange(24.0).view(24, 1, 1, 1).expand(24, 3, 1, 1)
    index = np.clip(np.arange(16)[:, None] + np.arange(8), 0, 23)
    clips = ClipWindows(frames, index, np.zeros(16, int), np.arange(1, 17))

    def network(some: ClipWindows) -> torch.Tensor:
        rows.append(len(some.index))
        return some.clips()

    found = interpolated_maps(network, clips, 4)
    assert rows == [5]  # key frames 1, 5, 9, 13 and 16
    torch.testing.assert_close(found, clips.clips().mean(2))  # values that rise evenly


@pytest.mark.slow
def test_the_detector_interpolates_where_the_config_says_so(monkeypatch):
    changes = {**FROZEN, 'test_cfg.rcnn.score_thr': 0.0, 'test_cfg.rpn.max_per_img': 12}
    found, seen = [], []
    original = InceptionI3D.forward

    def forward(self, clip):
        seen.append(len(clip.index))
        return original(self, clip)

    monkeypatch.setattr(InceptionI3D, 'forward', forward)
    for more in ({}, {'test_cfg.clip_stride': 3}):
        detector = roused(build_detector(**changes, **more)).eval()
        for size in ((48, 64), (41, 53)):  # with padding in the maps, too
            data = detector.data_preprocessor(collate(clips_of_a_video(size, 7)), False)
            with torch.no_grad():
                found.append(detector.predict(data['inputs'], data['data_samples']))
    assert seen == [7, 7, 3, 3]
    for exact, fast in zip(found[:2], found[2:], strict=True):
        for place, (a, b) in enumerate(zip(exact, fast, strict=True)):
            same = (
                torch.allclose(
                    a.pred_instances.scores, b.pred_instances.scores, rtol=1e-5, atol=1e-6
                )
                if len(a.pred_instances) == len(b.pred_instances)
                else False
            )
            assert same == (place in (0, 3, 6))
