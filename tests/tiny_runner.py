"""The smallest runs of MMEngine, for tests of what surrounds a model."""

from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader


class LinearModel(BaseModel):
    """y = w x + b with a squared loss."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1)

    def forward(self, x, y, mode='tensor'):
        prediction = self.fc(x)  # (N, 1)
        return dict(loss=(prediction - y).square().mean()) if mode == 'loss' else list(prediction)


class RisingScore(BaseMetric):
    """The iteration as the score, a NumPy scalar as MMAction2's metrics return."""

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(score=np.float64(MessageHub.get_current_instance().get_info('iter')))


def make_runner(work_dir: Path, max_iters: int, checkpoint: dict, **kwargs) -> Runner:
    """A runner that evaluates every second iteration on 8 points.

    Args:
        work_dir: Where it writes.
        max_iters: Length of the training.
        checkpoint: Arguments of the checkpoint hook, added to those of every iteration count.
        kwargs: More arguments of the runner, or others in place of those below.
    """
    x = torch.linspace(-1, 1, 16).reshape(8, 2)
    points = [dict(x=row, y=row.sum(0, keepdim=True)) for row in x]
    # endless, since MMEngine sleeps two seconds whenever a loader starts over
    endless = DataLoader(points, batch_size=4, sampler=InfiniteSampler(points, shuffle=False))
    loader = DataLoader(points, batch_size=4)
    torch.manual_seed(0)
    arguments = dict(
        model=LinearModel(),
        work_dir=str(work_dir),
        train_dataloader=endless,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='LinearLR', end=4, by_epoch=False),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2),
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=Evaluator(RisingScore()),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint={'type': 'CheckpointHook', 'by_epoch': False, 'interval': 2, **checkpoint},
        ),
        experiment_name=f'{work_dir}_{max_iters}_{id(loader)}',
    )
    return Runner(**{**arguments, **kwargs})
