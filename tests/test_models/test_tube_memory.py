"""Labels from a memory of tubes are those that the same tubes would be as an annotation."""

import numpy as np
import pytest
import torch

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.models.detectors.tube_memory import TubeMemory
from mmstal_da.tubes.annotation import Annotation, Tube, load_annotation, save_annotation
from mmstal_da.tubes.selection import boxes_by_frame
from tests.clips import write_dataset

PIPELINE = [
    dict(type='SampleKeyFrameClip', clip_len=4),
    dict(type='DecodeFrames'),
    dict(type='mmaction.Resize', scale=(-1, 72), keep_ratio=True),
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='PackTubeInputs'),
]


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """Two videos with random tubes, some ignored; the annotation has half of their size."""
    folder = tmp_path_factory.mktemp('memory')
    labelled = load_annotation(write_dataset(folder, ['a', 'b'], ['run', 'jump']))
    rng = np.random.default_rng(0)
    tubes = {}
    for name in 'ab':
        labelled.videos[name].width, labelled.videos[name].height = 32, 24
        tubes[name] = []
        for label, ignored in (('run', False), ('jump', False), ('run', True)):
            frames = np.arange(1, 13)[rng.integers(0, 4) : 12 - rng.integers(0, 4)]
            start = rng.uniform(0, 12, (len(frames), 2))
            boxes = np.hstack([start, start + rng.uniform(3, 11, (len(frames), 2))])
            tubes[name].append(Tube(label, frames, boxes.astype(np.float32), ignored))
    annotation = Annotation(
        'tiny', ['run', 'jump'], labelled.videos, labelled.splits, tubes, dict(checkpoint='x')
    )
    save_annotation(annotation, folder / 'pseudo.json')
    return folder, annotation


def test_boxes_follow_scale_and_flip(case):
    folder, annotation = case
    dataset = ActionTubeDataset(
        str(folder / 'pseudo.json'), 'train', PIPELINE, data_prefix=str(folder),
        serialize_data=False,
    )  # fmt: skip
    number = dict(run=0, jump=1)
    memory = TubeMemory({n: boxes_by_frame(t, number) for n, t in annotation.tubes.items()})
    again = TubeMemory.from_state_dict(memory.state_dict())
    flipped = set()
    np.random.seed(0)
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        flipped.add(sample.flip)
        learnt, ignored = again.labels_of(sample)
        torch.testing.assert_close(learnt.bboxes, sample.gt_instances.bboxes)
        assert learnt.labels.equal(sample.gt_instances.labels)
        expected = sample.get('ignored_instances')
        assert len(ignored) == (0 if expected is None else len(expected))
        if expected is not None:
            torch.testing.assert_close(ignored.bboxes, expected.bboxes)
    assert flipped == {True, False}


def test_what_is_not_remembered_is_background(case):
    folder, _ = case
    dataset = ActionTubeDataset(
        str(folder / 'annotation.json'), 'train', PIPELINE, data_prefix=str(folder),
        serialize_data=False, labelled=False,
    )  # fmt: skip
    for parts in TubeMemory({}).labels_of(dataset[0]['data_samples']):
        assert parts.bboxes.shape == (0, 4) and parts.labels.shape == (0,)
