"""Rank correlations against SciPy's, and what choosing by a score costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mmstal_da.evaluation.checkpoint_ranking import rank_scores, spearman


@given(st.integers(0, 2**32 - 1), st.integers(3, 20))
def test_spearman_is_scipys_with_equal_values(seed, n):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, n)).astype(float)
    expected = spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else None
    assert spearman(a, b) == (None if expected is None else pytest.approx(expected, abs=1e-12))


def record(name: str, run: str, truth: float | None, **scores) -> dict:
    return dict(name=name, run=run, target_mAP=truth, **scores)


def test_scores_are_compared_over_all_and_within_runs():
    records = [
        record('a1', 'a', 10.0, source_mAP=50.0, pcr=0.1),
        record('a2', 'a', 20.0, source_mAP=60.0, pcr=0.2),
        record('a3', 'a', 30.0, source_mAP=70.0, pcr=0.3),
        record('b1', 'b', 31.0, source_mAP=90.0, pcr=0.4),
        record('b2', 'b', 25.0, source_mAP=40.0, pcr=None),
        record('c1', 'c', None, source_mAP=99.0, pcr=9.0),  # no labels
        record('d1', 'd', 90.0),  # no scores
    ]
    source, pcr = rank_scores(records)
    assert source.score == 'source_mAP' and source.count == 5
    truth = [10, 20, 30, 31, 25]
    assert source.spearman == pytest.approx(spearmanr([50, 60, 70, 90, 40], truth).statistic)
    assert source.within == 1 and source.chosen == 'b1' and source.regret == 0
    assert (pcr.score, pcr.count, pcr.spearman) == ('pcr', 4, 1)
    assert pcr.chosen_map == 31


def test_what_a_bad_choice_costs_and_what_is_undefined():
    records = [record('x', 'r', 40.0, pcr=0.1), record('y', 'r', 15.0, pcr=0.9)]
    (row,) = rank_scores(records)
    assert (row.chosen, row.regret, row.spearman, row.within) == ('y', 25.0, None, None)
    constant = [record(str(i), 'r', float(i), pcr=0.5) for i in range(4)]
    assert rank_scores(constant)[0].spearman is None
    assert rank_scores([record('x', 'r', None, pcr=0.1)]) == []
