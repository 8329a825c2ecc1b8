"""A training that takes a moment, with this project's hooks: to be killed and resumed."""

from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.tiny_runner import make_runner

MAX_ITERS = 60
CHECKPOINT = dict(type='mmstal_da.AtomicCheckpointHook', interval=1, max_keep_ckpts=1)


class Noise(Hook):
    """What a resumed run must repeat: draws of the generator, as those of dropout and samplers."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        data_batch['x'] = data_batch['x'] + 0.1 * torch.randn_like(data_batch['x'])


def make(folder: Path, max_iters: int = MAX_ITERS, **kwargs) -> Runner:
    """The tiny runner, which resumes from whatever is there.

    Args:
        folder: Where it writes.
        max_iters: Length of the training.
        kwargs: More arguments of the runner.
    """
    hooks = [dict(type='mmstal_da.FiniteHook'), dict(type='mmstal_da.IterationSeedHook'), Noise()]
    torch.set_num_threads(1)
    resumed = dict(custom_hooks=hooks, resume=True, randomness=dict(seed=0))
    return make_runner(folder, max_iters, CHECKPOINT, **resumed, **kwargs)


def train(folder: Path, max_iters: int = MAX_ITERS) -> None:
    """Train it."""
    make(folder, max_iters).train()


def final_weights(folder: Path, iteration: int = MAX_ITERS) -> dict[str, torch.Tensor]:
    """Those after the last iteration."""
    return torch.load(folder / f'iter_{iteration}.pth')['state_dict']


def assert_same(ours: dict, expected: dict) -> None:
    """Two sets of weights are equal bit by bit."""
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], value) for key, value in expected.items())


def progress(folder: Path) -> int:
    """Iterations behind the last checkpoint."""
    pointer = folder / 'last_checkpoint'
    return int(Path(pointer.read_text()).stem.rpartition('_')[2]) if pointer.is_file() else 0
