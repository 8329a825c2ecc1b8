"""Clips that share frames have the features and detections that they have one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.models.backbones import InceptionI3D, inception_i3d
from mmstal_da.models.backbones.clip_windows import (
    PADDING,
    ClipWindows,
    covered_steps,
    expand,
    run_unit,
)
from mmstal_da.models.backbones.inception_blocks import Unit3D
from tests.model_builders import build_detector, collate, packed
from tests.test_models.test_padding import FROZEN, roused

CLOSE = dict(rtol=1e-4, atol=1e-4)


def clip_windows(frames: torch.Tensor, index: np.ndarray) -> ClipWindows:
    """Clips of one video."""
    n = len(index)
    return ClipWindows(frames, index, np.zeros(n, int), np.arange(n) + 1)


def windows(rng: np.random.Generator, clips: int, length: int, interval: int = 1) -> ClipWindows:
    """Clips around neighbouring key frames, clamped to the video's ends."""
    index = np.arange(clips)[:, None] + (np.arange(length) - length // 2) * interval
    _, index = np.unique(np.clip(index, 0, clips - 1), return_inverse=True)
    frames = torch.from_numpy(rng.standard_normal((clips, 3, 32, 48), dtype=np.float32))
    return clip_windows(frames, index.reshape(clips, length))


def test_expansion_is_indexing():
    given_windows = windows(np.random.default_rng(0), 5, 4)
    clips = given_windows.clips()
    assert clips.shape == (5, 3, 4, 32, 48)
    for n in range(5):
        for t in range(4):
            frame = given_windows.frames[given_windows.index[n, t]]
            assert torch.equal(clips[n, :, t], frame)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]), stride=st.integers(1, 3), length=st.integers(1, 12),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_unit_over_shared_steps_is_the_unit_over_clips(kernel, stride, length, seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    unit = Unit3D(3, 4, (kernel, 3, 3), (stride, 2, 1)).eval()
    unit.bn.running_mean.normal_()
    frames = torch.from_numpy(rng.standard_normal((6, 3, 7, 5), dtype=np.float32))
    steps = clip_windows(frames, rng.integers(0, 6, (4, length)))
    with torch.no_grad():
        shared = run_unit(unit, steps)
        torch.testing.assert_close(expand(shared), unit(steps.clips()), **CLOSE)
    rows = {tuple(row) for row in covered_steps(steps.index, kernel, stride).reshape(-1, kernel)}
    assert len(shared.frames) == len(rows)  # every output once


def test_some_of_the_clips_need_some_of_the_frames():
    whole = windows(np.random.default_rng(0), 9, 4)
    part = whole.take(np.array([1, 2]))
    assert len(part.frames) == 4 and part.key_frames.tolist() == [2, 3]
    assert torch.equal(part.clips(), whole.clips()[1:3])


def test_what_is_covered_counts_from_the_padding():
    index = np.array([[5, 6, 7, 8, 9]])
    assert covered_steps(index, 3, 2).tolist() == [[[PADDING, 5, 6], [6, 7, 8], [8, 9, PADDING]]]


@pytest.mark.parametrize(('clips', 'length', 'interval'), [(24, 20, 1), (9, 16, 1), (12, 8, 2)])
def test_i3d_s_features_are_the_same(clips, length, interval, monkeypatch):
    torch.manual_seed(0)
    net = roused(InceptionI3D(width=0.125)).eval()
    shared = windows(np.random.default_rng(1), clips, length, interval)
    used = []
    monkeypatch.setattr(inception_i3d, 'run_unit', lambda *a: used.append(a) or run_unit(*a))
    with torch.no_grad():
        torch.testing.assert_close(net(shared), net(shared.clips()), **CLOSE)
    assert len(used) == (0 if length == 8 else 3)


def clips_of_a_video(size: tuple[int, int], count: int = 6, length: int = 20) -> list[dict]:
    """Items of neighbouring key frames, with the ids of their frames."""
    frames = packed(np.random.default_rng(size), size=size, length=count, labels=False)['inputs']
    items = []
    for key in range(count):
        ids = np.clip(key + np.arange(length) - length // 2, 0, count - 1)
        item = packed(np.random.default_rng(0), size=size, length=length, labels=False)
        item['inputs'] = frames[:, ids]
        meta = dict(frame_ids=ids, key_index=length // 2, key_frame=key + 1)
        item['data_samples'].set_metainfo(meta)
        items.append(item)
    return items


@pytest.mark.slow
@pytest.mark.parametrize('domain_norm', [None, 'target'])
@pytest.mark.parametrize('size', [(48, 64), (41, 53)])
def test_detections_are_the_same(size, domain_norm):
    """Also where the size is no multiple of the stride, with padding in every map."""
    changes = {**FROZEN, 'test_cfg.rcnn.score_thr': 0.0, 'test_cfg.rpn.max_per_img': 12}
    detector = roused(build_detector(domain_norm=domain_norm, **changes)).eval()
    found = []
    for shared in (True, False):
        items = clips_of_a_video(size)
        if not shared:
            for item in items:
                item['data_samples'].pop('frame_ids', None)
        data = detector.data_preprocessor(collate(items), False)
        assert ('windows' in data['inputs']) == shared
        with torch.no_grad():
            found.append(
                detector.predict(
                    **{'batch_inputs': data['inputs'], 'batch_data_samples': data['data_samples']}
                )
            )
    for ours, expected in zip(*found, strict=True):
        for key in ('bboxes', 'scores'):
            torch.testing.assert_close(
                ours.pred_instances[key], expected.pred_instances[key], rtol=1e-3, atol=1e-3
            )


def test_training_and_batches_of_several_sizes_take_clips():
    detector = build_detector().eval()
    items = clips_of_a_video((48, 64), 3)
    assert 'clip' in detector.data_preprocessor(collate(items), True)['inputs']
    items += clips_of_a_video((32, 64), 3)
    assert 'clip' in detector.data_preprocessor(collate(items), False)['inputs']
