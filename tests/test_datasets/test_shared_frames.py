"""Samples of a batch that are loaded together are those that are loaded one by one."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmstal_da.datasets import ActionTubeDataset, shared_frames
from mmstal_da.datasets.shared_frames import SharedFrames
from mmstal_da.datasets.transforms import clip as clip_transforms
from mmstal_da.video.reader import read_frames
from tests.clips import write_dataset

RESIZE = dict(type='mmaction.Resize', scale=(-1, 40))
FOG = dict(type='DegradeFrames', fog=0.5, low_light=0.5, noise=0.5)


def make(folder, stages=(), **kwargs) -> ActionTubeDataset:
    ann_file = write_dataset(folder, ['a', 'b', 'c'], ['run', 'wave'])
    clip = dict(type='SampleKeyFrameClip', clip_len=6, frame_interval=2)
    pipeline = [clip, dict(type='DecodeFrames'), *stages, dict(type='PackTubeInputs')]
    settings = dict(test_mode=True, background_frames=True, **kwargs)
    return ActionTubeDataset(ann_file.name, 'train', pipeline, data_root=str(folder), **settings)


def assert_same(ours: dict, expected: dict) -> None:
    assert torch.equal(ours['inputs'], expected['inputs'])
    ours, expected = ours['data_samples'], expected['data_samples']
    metas = dict(ours.metainfo)
    assert len(metas.pop('frame_ids')) == 6
    assert metas == expected.metainfo
    assert set(ours.keys()) == set(expected.keys())
    for key in expected.keys():
        for name, value in expected.get(key).items():
            assert torch.equal(ours.get(key)[name], value), (key, name)


@pytest.mark.slow
@pytest.mark.parametrize('stages', [(), (RESIZE,), (FOG, RESIZE), (RESIZE, RESIZE)], ids=len)
@pytest.mark.parametrize('labelled', [True, False])
def test_together_is_one_by_one(tmp_path, stages, labelled):
    data = make(tmp_path, stages, labelled=labelled)
    rng = np.random.default_rng(0)
    groups = [range(len(data)), rng.permutation(len(data)), rng.integers(0, len(data), 9), [3]]
    for group in groups:
        indices = [int(index) for index in group]
        together = data.__getitems__(indices)
        for ours, index in zip(together, indices, strict=True):
            assert_same(ours, data[index])


@pytest.mark.slow
def test_equal_ids_are_equal_frames(tmp_path):
    data = make(tmp_path)
    samples = data.__getitems__(range(len(data)))
    ids = np.concatenate([s['data_samples'].metainfo['frame_ids'] for s in samples])
    frames = torch.cat([s['inputs'].transpose(0, 1) for s in samples])
    unique = np.unique(ids)
    assert (unique == np.arange(len(unique))).all() and len(unique) < len(ids)
    first = {i: frames[np.flatnonzero(ids == i)[0]] for i in unique}
    assert all(torch.equal(first[i], frame) for i, frame in zip(ids, frames, strict=True))


@pytest.mark.slow
def test_every_frame_is_read_once(tmp_path, monkeypatch):
    data = make(tmp_path)
    asked = []

    def counted(path, indices, template=None):
        asked.extend((path, index) for index in indices)
        return read_frames(path, indices, template)

    monkeypatch.setattr(clip_transforms, 'read_frames', counted)
    loader = DataLoader(data, batch_size=len(data), collate_fn=list)
    assert len(next(iter(loader))) == len(data)
    assert len(asked) == len(set(asked)) > 0


@pytest.mark.slow
def test_other_pipelines_are_read_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(SharedFrames, 'load', None)
    flip = dict(type='mmaction.Flip', flip_ratio=1.0)
    for data in (make(tmp_path / 'flip', (flip,)), make(tmp_path / 'none')):
        if len(data.pipeline.transforms) == 3:
            data.test_mode = False
        items = data.__getitems__([0, 1])
        assert torch.equal(items[1]['inputs'], data[1]['inputs'])
        assert 'frame_ids' not in items[0]['data_samples'].metainfo
    assert not shared_frames.SharedFrames.can_load([])
