"""Training samples as a pure function of (seed, draw number).

:class:`~mmstal_da.datasets.samplers.DrawSampler` gives a data set a :class:`Draw` in place of an
index. :class:`SeededDraws` turns it into an index, by a permutation per epoch, and seeds the random
transforms from it. So the stream of samples is the same with any number of workers, and a resumed
run continues with the draw at which it stopped, without replaying the others.
"""

import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from mmstal_da.registry import DATASETS


class Draw(NamedTuple):
    """The ``number``-th sample (from 0) of the stream that ``seed`` defines."""

    seed: int
    number: int


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed ``random``, ``numpy.random`` and torch's CPU generator; restore them at the end.

    Args:
        *entropy: Non-negative integers; every combination gives an independent stream.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    try:
        random.seed(seed)
        np.random.seed(seed)
        # not torch.manual_seed: it seeds the GPUs too, whose state is not restored here
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, side: int, epoch: int, size: int) -> np.ndarray:
    """The permutation of ``range(size)`` in which an epoch visits a data set. (size,) int64."""
    return np.random.default_rng([seed, side, epoch]).permutation(size)


def drawn_index(draw: Draw, size: int, side: int) -> int:
    """The index of a draw in a data set of that size: each epoch visits every index once."""
    epoch, position = divmod(draw.number, size)
    return int(epoch_order(draw.seed, side, epoch, size)[position])


def as_draw(item: int | Draw) -> Draw:
    """A plain index counts as that draw of seed 0, so that stock samplers and loops work."""
    return item if isinstance(item, Draw) else Draw(0, int(item))


@DATASETS.register_module()
class SeededDraws:
    """A data set whose items are draws: shuffled by epoch and augmented reproducibly.

    Args:
        dataset: A data set or its config.
        side: Data sets of the same size with different sides are shuffled differently.
    """

    def __init__(self, dataset: BaseDataset | dict, side: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.side = side
        if len(self.dataset) == 0:
            raise ValueError(f'{type(self.dataset).__name__} is empty: there is nothing to draw')

    @property
    def metainfo(self) -> dict:
        """The metainfo of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the wrapped data set's annotation, if it was not loaded yet."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | Draw) -> dict:
        draw = as_draw(item)
        with seeded(draw.seed, self.side, draw.number):
            return self.dataset[drawn_index(draw, len(self.dataset), self.side)]
