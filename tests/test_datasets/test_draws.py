import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from torch.utils.data import BatchSampler, DataLoader

from mmstal_da.datasets import Draw, DrawSampler, SeededDraws
from mmstal_da.datasets import samplers as samplers_module
from mmstal_da.datasets.draws import drawn_index, seeded


class Noise(BaseDataset):
    """Items that show their index and every generator a transform might use."""

    def __init__(self, size):
        super().__init__(lazy_init=True, serialize_data=False)
        self.data_list = [dict(index=index) for index in range(size)]
        self._fully_initialized = True

    def prepare_data(self, idx):
        return dict(
            index=idx,
            noise=(random.random(), np.random.rand(), torch.rand(()).item()),
        )


def numbers():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeded_is_reproducible_and_leaves_no_trace():
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(3)
    expected = numbers()
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(3)
    with seeded(1, 2):
        first = numbers()
    with seeded(1, 2):
        assert numbers() == first
    with pytest.raises(KeyError), seeded(1, 2):
        raise KeyError
    with seeded(2, 1):
        assert numbers() != first
    assert numbers() == expected


def test_every_epoch_visits_every_index_once():
    size = 7
    epochs = [[drawn_index(Draw(0, e * size + i), size, 0) for i in range(size)] for e in range(4)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [drawn_index(Draw(1, i), size, 0) for i in range(size)] != epochs[0]
    assert [drawn_index(Draw(0, i), size, 1) for i in range(size)] != epochs[0]


def test_an_item_is_a_function_of_its_draw():
    first, second = SeededDraws(Noise(10)), SeededDraws(Noise(10))
    items = {n: first[Draw(5, n)] for n in range(30)}
    random.seed(99)
    for n in reversed(range(30)):
        assert second[Draw(5, n)] == items[n]
    assert first[3] == first[Draw(0, 3)]  # a plain index is a draw of seed 0
    # the same sample in another epoch is augmented differently
    again = [item for item in items.values() if item['index'] == items[0]['index']]
    assert len(again) == 3
    assert len({item['noise'] for item in again}) == 3


def loaded(workers, start=0, batches=8, seed=7, batch_size=3):
    dataset = SeededDraws(Noise(10))
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=DrawSampler(dataset, seed=seed, start=start),
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    return list(islice(loader, batches))


def test_the_stream_does_not_depend_on_the_number_of_workers():
    expected = loaded(0)
    assert len({noise for batch in expected for noise in batch['noise']}) > 20
    assert loaded(1) == expected
    assert loaded(2) == expected


def test_a_stream_can_be_entered_anywhere():
    assert loaded(0, start=5 * 3, batches=3) == loaded(0)[5:]
    assert loaded(2, start=5 * 3, batches=3) == loaded(0)[5:]


def draws_of_ranks(monkeypatch, world_size, positions, start=0):
    draws = []
    for rank in range(world_size):
        monkeypatch.setattr(samplers_module, 'get_dist_info', lambda r=rank: (r, world_size))
        sampler = DrawSampler(range(10), seed=3, start=start)
        draws.append([draw.number for draw in islice(sampler, positions)])
        assert all(draw.seed == 3 for draw in islice(sampler, positions))
    return draws


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_ranks_share_no_draw_and_leave_none_out(monkeypatch, world_size):
    draws = draws_of_ranks(monkeypatch, world_size, 12)
    assert sorted(number for draw in draws for number in draw) == list(range(12 * world_size))
    resumed = draws_of_ranks(monkeypatch, world_size, 4, start=8)
    assert resumed == [draw[8:] for draw in draws]


def test_the_sampler_works_in_batches_and_agrees_on_a_seed():
    sampler = DrawSampler(range(10))
    assert 0 <= sampler.seed < 2**31
    batch = next(iter(BatchSampler(sampler, 4, drop_last=True)))
    assert batch == [Draw(sampler.seed, n) for n in range(4)]
    assert len(sampler) == 10


def test_an_empty_dataset_is_an_error():
    with pytest.raises(ValueError, match='Noise is empty'):
        SeededDraws(Noise(0))
