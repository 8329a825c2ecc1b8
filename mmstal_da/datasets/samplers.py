"""The sampler of training draws."""

import itertools
from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmstal_da.registry import DATA_SAMPLERS
from mmstal_da.utils.values import check_values, optional, whole

from .draws import Draw


@DATA_SAMPLERS.register_module()
class DrawSampler(Sampler):
    """Endless draws for :class:`SeededDraws` and :class:`DualDomainDataset`.

    Position p (from 0) on rank r of w is draw number ``p * w + r``, whatever came before. So ranks
    never share a draw, and a resumed run can start directly at any position.

    Args:
        dataset: The data set; its length is the sampler's.
        seed: Seed of the stream of draws. None takes a random one, the same on all ranks.
        start: Position to start at.
    """

    value_rules = dict(seed=optional(whole(0)), start=whole(0))

    def __init__(self, dataset: Sized, seed: int | None = None, start: int = 0) -> None:
        check_values(self.value_rules, locals())
        self.dataset = dataset
        self.seed = sync_random_seed() if seed is None else seed
        self.start = start
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[Draw]:
        for position in itertools.count(self.start):
            yield Draw(self.seed, position * self.world_size + self.rank)

    def __len__(self) -> int:
        """Samples of the data set; the iteration itself never ends."""
        return len(self.dataset)
