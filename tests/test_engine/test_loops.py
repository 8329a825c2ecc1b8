from itertools import count

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

import mmstal_da.engine  # noqa: F401 (registers the loop)
from mmstal_da.datasets import SeededDraws

RUNS = count()


class Points(BaseDataset):
    """10 points, slightly moved by a random augmentation; counts how many were asked."""

    asked = 0

    def __init__(self):
        super().__init__(lazy_init=True, serialize_data=False)
        self.data_list = [dict(x=[index / 5 - 1, (index % 3) - 1.0]) for index in range(10)]
        self._fully_initialized = True

    def prepare_data(self, idx):
        Points.asked += 1
        x = torch.tensor(self.data_list[idx]['x']) + 0.1 * torch.rand(2) + np.random.rand()
        return dict(x=x, y=x.sum(0, keepdim=True))


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1)

    def forward(self, x, y, mode='loss'):
        x, y = torch.stack(x), torch.stack(y)
        return dict(loss=(self.fc(x) - y).square().mean())


class Recorder(Hook):
    """The batches of a run."""

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(torch.stack(data_batch['x']))


def train(work_dir, max_iters, resume=False, seed=3, workers=0, sampler=None, **randomness):
    torch.manual_seed(0)
    recorder = Recorder()
    runner = Runner(
        Linear(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=SeededDraws(Points()),
            sampler=sampler or dict(type='mmstal_da.DrawSampler'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        train_cfg=dict(type='mmstal_da.DrawTrainLoop', max_iters=max_iters),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3),
            logger=dict(type='LoggerHook', interval=100),
        ),
        custom_hooks=[recorder],
        randomness=dict(seed=seed, **randomness),
        resume=resume,
        experiment_name=f'loop_{next(RUNS)}',
        log_level='ERROR',
    )
    runner.train()
    # else the garbage collector ends the workers, which takes torch five seconds for each
    runner.train_loop.dataloader_iterator = runner.train_loop.dataloader._iterator = None
    weights = torch.cat([value.flatten() for value in runner.model.state_dict().values()])
    return recorder.batches, weights


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_run_continues_the_stream_and_reaches_the_same_weights(tmp_path, workers):
    expected, weights = train(tmp_path / 'whole', 8, workers=workers)
    first, _ = train(tmp_path / 'parts', 3, workers=workers)
    second, resumed = train(tmp_path / 'parts', 8, resume=True, workers=workers)
    assert len(first) == 3
    assert len(second) == 5
    assert all(map(torch.equal, first + second, expected))
    assert torch.equal(resumed, weights)


def test_resuming_does_not_read_the_past_again(tmp_path):
    train(tmp_path, 9)
    Points.asked = 0
    train(tmp_path, 10, resume=True)
    assert Points.asked == 4


def test_the_stream_is_resumed_without_its_seed(tmp_path):
    expected, _ = train(tmp_path / 'whole', 5, seed=11)
    train(tmp_path / 'parts', 3, seed=11)
    second, _ = train(tmp_path / 'parts', 5, resume=True, seed=None)
    assert all(map(torch.equal, second, expected[3:]))


def test_a_seed_of_the_sampler_itself_is_kept(tmp_path):
    sampler = dict(type='mmstal_da.DrawSampler', seed=42)
    expected, _ = train(tmp_path / 'whole', 5, sampler=sampler)
    other, _ = train(tmp_path / 'other', 5)
    assert not torch.equal(expected[0], other[0])
    train(tmp_path / 'parts', 3, sampler=sampler)
    second, _ = train(tmp_path / 'parts', 5, resume=True, sampler=sampler)
    assert all(map(torch.equal, second, expected[3:]))


def test_another_sampler_is_an_error(tmp_path):
    with pytest.raises(TypeError, match='not InfiniteSampler'):
        train(tmp_path, 3, sampler=dict(type='InfiniteSampler'))
