"""Warnings against logs constructed to deserve them, and logs that do not."""

import numpy as np
import pytest

from mmstal_da.engine.monitor.diagnosis import diagnose

PLACES = {'spatial': 'SF', 'timg': 'TF1', 'tinst': 'Mixed_3c'}
N = 600
RNG = np.random.default_rng(0)


def noisy(value: float, spread: float = 0.2) -> np.ndarray:
    return np.clip(RNG.normal(value, spread, N), 0, 1)


def healthy() -> dict:
    """A discriminator that learns and then loses ground to the features."""
    ramp = np.linspace(1, 0, N)
    return {
        'acc_da_timg': 0.65 + 0.25 * ramp,
        'loss_ratio_da_timg': 0.9 - 0.4 * ramp,
        'grad_share_da_timg_TF1': np.full(N, 0.4),
        'da_lambda': np.full(N, 0.1),
        'target_diversity': np.linspace(1, 0.8, N),
    }


def test_a_healthy_training_and_one_that_has_just_begun_get_none():
    assert diagnose(healthy(), places=PLACES) == {}
    assert diagnose({}, places=PLACES) == {}
    bad = {
        **healthy(), 'acc_da_timg': np.ones(299), 'target_diversity': np.zeros(299),
        'grad_share_da_timg_TF1': np.zeros(299),
    }  # fmt: skip
    assert diagnose(bad, patience=300, places=PLACES) == {}


@pytest.mark.parametrize('name', ['spatial', 'timg', 'tinst'])
def test_guessing_since_the_beginning(name):
    log = {f'acc_da_{name}': noisy(0.5), f'loss_ratio_da_{name}': RNG.normal(1.0, 0.1, N)}
    (warning,) = diagnose(log, places=PLACES).items()
    paper = {'spatial': 'D_S', 'timg': 'D_Timg', 'tinst': 'D_Tinst'}[name]
    assert warning[0] == f'guessing_{name}'
    assert warning[1].startswith(f'{paper} has been guessing since the beginning')
    # one that guesses only later, since the features have caught up
    log[f'acc_da_{name}'][:50] = 0.8
    assert diagnose(log, places=PLACES) == {}
    # accuracy at chance but a loss far below guessing: sure of itself where it is right
    log[f'acc_da_{name}'][:50] = 0.5
    log[f'loss_ratio_da_{name}'][:] = 0.6
    assert diagnose(log, places=PLACES) == {}


@pytest.mark.parametrize('name', ['spatial', 'timg', 'tinst'])
def test_perfect_while_the_features_do_not_move(name):
    share = f'grad_share_da_{name}_{PLACES[name]}'
    log = {
        f'acc_da_{name}': noisy(0.99, 0.01),
        f'loss_ratio_da_{name}': np.full(N, 0.02),
        share: np.full(N, 0.004),
        'da_lambda': np.full(N, 0.02),
    }
    (warning,) = diagnose(log, places=PLACES).items()
    assert warning[0] == f'idle_{name}'
    assert f"0.4 % of the detection losses' at {PLACES[name]}" in warning[1]
    assert 'Lambda is 0.02' in warning[1]
    assert diagnose({**log, share: np.full(N, 0.3)}, places=PLACES) == {}
    assert diagnose({**log, 'da_lambda': np.linspace(0, 0.02, N)}, places=PLACES) == {}
    assert diagnose({**log, 'da_lambda': np.zeros(N)}, places=PLACES) != {}
    half = np.where(np.arange(N) < N - 60, log[f'acc_da_{name}'], 0.7)
    assert diagnose({**log, f'acc_da_{name}': half}, places=PLACES) == {}


def test_collapse_to_one_class():
    log = {**healthy(), 'target_diversity': np.linspace(0.9, 0, N) ** 3}
    (warning,) = diagnose(log, places=PLACES, top='wave').items()
    assert warning[0] == 'collapse' and "predicted as 'wave'" in warning[1]
    log['target_diversity'][-50:] = 0.5
    assert diagnose(log, places=PLACES) == {}
