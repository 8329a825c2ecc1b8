"""Lambda is a function of the iteration alone; randomness of (seed, rank, iteration)."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmstal_da.engine.hooks import AdaptationWeightHook, IterationSeedHook
from mmstal_da.models.adaptation.schedules import adaptation_weight


def runner(iteration: int, max_iters: int = 100):
    model = SimpleNamespace(adaptation=SimpleNamespace(weight=None))
    return SimpleNamespace(model=model, iter=iteration, max_iters=max_iters, seed=3, rank=0)


def test_the_hook_sets_the_published_ramp():
    hook = AdaptationWeightHook(schedule='dann', max_weight=0.5, gamma=10)
    for iteration in (0, 17, 99):
        state = runner(iteration)
        hook.before_train_iter(state, iteration)
        expected = 0.5 * (2 / (1 + np.exp(-10 * iteration / 100)) - 1)
        assert state.model.adaptation.weight == pytest.approx(expected)


def test_begin_and_end_of_the_ramp():
    hook = AdaptationWeightHook(schedule='linear', max_weight=1.0, begin=10, end=20)
    values = [hook.weight_at(i, 100) for i in (0, 9, 10, 15, 20, 99)]
    assert values == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert AdaptationWeightHook('constant', 0.2).weight_at(5, 9) == adaptation_weight(
        'constant', 5, 9, 0.2
    )


def test_a_model_without_adaptation_is_left_alone():
    state = runner(5)
    state.model.adaptation = None
    AdaptationWeightHook().before_train_iter(state, 5)
    state.model = torch.nn.Linear(1, 1)
    AdaptationWeightHook().before_train_iter(state, 5)


def test_bad_keys_are_refused():
    with pytest.raises(ValueError, match='schedule'):
        AdaptationWeightHook('exponential')
    with pytest.raises(ValueError, match='begin < end'):
        AdaptationWeightHook(begin=5, end=5)


def test_randomness_depends_on_the_iteration_not_on_the_past():
    def draw(iteration: int, noise: int) -> tuple:
        for _ in range(noise):
            torch.rand(1), np.random.rand(), random.random()
        IterationSeedHook().before_train_iter(runner(iteration), iteration)
        return torch.rand(1).item(), np.random.rand(), random.random()

    assert draw(5, 0) == draw(5, 3)
    assert draw(5, 0) != draw(6, 0)
