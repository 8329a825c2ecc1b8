"""Makes the randomness of an iteration a function of seed, rank and iteration."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook

from mmstal_da.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds Python, NumPy and torch before every training iteration.

    Dropout and the samplers of RPN and RoI head draw from these generators. With seeds that depend
    on the iteration, a killed and resumed run ends at the same weights as an uninterrupted one. The
    data have their own seeds (:class:`mmstal_da.datasets.DrawSampler`).
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed all generators for this iteration."""
        entropy = (runner.seed, runner.rank, runner.iter)
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
