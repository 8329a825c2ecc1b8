"""Lambda against the published formulas, its limits, and schedules of one's own."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.engine.hooks import AdaptationWeightHook
from mmstal_da.errors import ConfigError
from mmstal_da.models.adaptation.schedules import SCHEDULES, adaptation_weight, build_schedule
from mmstal_da.registry import FUNCTIONS

HERE = 'tests.test_models.test_adaptation.test_schedules'


def step(progress: float, at: float = 0.5) -> float:
    """0, then 1."""
    return float(progress >= at)


def broken(progress: float) -> float:
    """No number that can weigh a loss."""
    return math.nan


class Table:
    """Linear between the given values."""

    def __init__(self, values: list) -> None:
        self.values = values

    def __call__(self, progress: float) -> float:
        return float(np.interp(progress, np.linspace(0, 1, len(self.values)), self.values))


@given(st.sampled_from(SCHEDULES), st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 2))
def test_between_zero_and_max_and_never_falling(schedule, iteration, max_iters, top):
    now = adaptation_weight(schedule, iteration, max_iters, top)
    later = adaptation_weight(schedule, iteration + 1, max_iters, top)
    assert 0 <= now <= later <= top + 1e-12


@given(st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 2), st.floats(0.1, 50))
def test_the_named_schedules_are_their_formulas_to_the_last_bit(iteration, max_iters, top, gamma):
    p = min(iteration / max_iters, 1.0)
    expected = {
        'constant': top,
        'dann': top * (2.0 / (1.0 + math.exp(-gamma * p)) - 1.0),
        'linear': top * p,
        'cosine': top * ((1.0 - math.cos(math.pi * p)) / 2.0),
    }
    for name, value in expected.items():
        assert adaptation_weight(name, iteration, max_iters, top, gamma) == value
        hook = AdaptationWeightHook(name, top, gamma)
        assert hook.weight_at(iteration, max_iters) == value


def test_ends():
    assert adaptation_weight('constant', 0, 10, 0.3) == 0.3
    assert adaptation_weight('linear', 5, 10, 0.3) == pytest.approx(0.15)
    assert adaptation_weight('cosine', 5, 10, 0.3) == pytest.approx(0.15)
    for schedule in ('linear', 'cosine'):
        assert adaptation_weight(schedule, 0, 10, 0.3) == 0
        assert adaptation_weight(schedule, 10, 10, 0.3) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ('schedule', 'expected'),
    [
        (f'{HERE}.step', [0, 0, 0.2, 0.2]),
        (dict(type=f'{HERE}.step', at=0.1), [0, 0.2, 0.2, 0.2]),
        (dict(type=f'{HERE}.Table', values=[0, 1, 0.5]), [0, 0.1, 0.2, 0.1]),
        (dict(type='dann', gamma=3.0), [0.2 * (2 / (1 + math.exp(-3 * p)) - 1)
                                        for p in (0, 0.25, 0.5, 1)]),
        (step, [0, 0, 0.2, 0.2]),
        (Table([1, 0]), [0.2, 0.15, 0.1, 0]),
        (dict(type=Table, values=[1, 0]), [0.2, 0.15, 0.1, 0]),
    ],
)  # fmt: skip
def test_a_function_or_class_of_ones_own(schedule, expected):
    hook = AdaptationWeightHook(schedule, max_weight=0.2)
    values = [hook.weight_at(iteration, 100) for iteration in (0, 25, 50, 100)]
    assert values == pytest.approx(expected)
    assert pickle.loads(pickle.dumps(hook)).weight_at(50, 100) == values[2]


def test_a_registered_one():
    FUNCTIONS.register_module(name='half', module=lambda progress: 0.5)
    try:
        assert AdaptationWeightHook('half', max_weight=0.2).weight_at(3, 9) == 0.1
    finally:
        del FUNCTIONS._module_dict['half']


@pytest.mark.parametrize(
    ('schedule', 'message'),
    [
        ('step', "schedule is one of constant, dann.*FUNCTIONS.*import path.*not 'step'"),
        ('no_such_package.step', "import path.*not 'no_such_package.step'"),
        (HERE, f"not '{HERE}'"),  # a module
        (None, 'not None'),
        (dict(at=1), 'not None'),
        (dict(type=f'{HERE}.step', to=1), "arguments {'to': 1}.*unexpected.*'to'"),
        (f'{HERE}.Table', "Table' with the arguments {}: .*values"),
    ],
)
def test_a_schedule_that_cannot_be_is_an_error_when_built(schedule, message):
    with pytest.raises(ConfigError, match=message):
        AdaptationWeightHook(schedule)


def test_a_schedule_that_gives_no_weight_is_an_error():
    with pytest.raises(ValueError, match=r'gives nan at progress 0\.5'):
        AdaptationWeightHook(broken).weight_at(5, 10)
    for wrong in (lambda p: -0.1, lambda p: None):
        with pytest.raises(ValueError, match='finite number >= 0'):
            AdaptationWeightHook(wrong).weight_at(5, 10)
    with pytest.raises(ValueError, match='max_iters'):
        adaptation_weight('linear', 0, 0)
    assert build_schedule('linear')(0.25) == 0.25
