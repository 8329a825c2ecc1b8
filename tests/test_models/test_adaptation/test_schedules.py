"""Lambda against the published formula, and its limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.models.adaptation.schedules import SCHEDULES, adaptation_weight


@given(st.sampled_from(SCHEDULES), st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 2))
def test_between_zero_and_max_and_never_falling(schedule, iteration, max_iters, top):
    now = adaptation_weight(schedule, iteration, max_iters, top)
    later = adaptation_weight(schedule, iteration + 1, max_iters, top)
    assert 0 <= now <= later <= top + 1e-12


def test_dann_is_the_published_formula():
    for iteration in (0, 1, 250, 999):
        p = iteration / 1000
        expected = 0.1 * (2 / (1 + math.exp(-10 * p)) - 1)
        assert adaptation_weight('dann', iteration, 1000, 0.1) == pytest.approx(expected)


def test_ends():
    assert adaptation_weight('constant', 0, 10, 0.3) == 0.3
    assert adaptation_weight('linear', 5, 10, 0.3) == pytest.approx(0.15)
    assert adaptation_weight('cosine', 5, 10, 0.3) == pytest.approx(0.15)
    for schedule in ('linear', 'cosine'):
        assert adaptation_weight(schedule, 0, 10, 0.3) == 0
        assert adaptation_weight(schedule, 10, 10, 0.3) == pytest.approx(0.3)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match='schedule is one of'):
        adaptation_weight('step', 0, 10)
    with pytest.raises(ValueError, match='max_iters'):
        adaptation_weight('linear', 0, 0)
