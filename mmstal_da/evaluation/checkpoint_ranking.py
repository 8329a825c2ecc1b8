"""How well scores without target labels rank checkpoints, measured with the target's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

TRUTH = 'target_mAP'
BASELINE = 'source_mAP'
SCORES = (BASELINE, 'pcr', 'box_stability', 'tube_steadiness')
LEAST = 3  # checkpoints that a rank correlation needs


@dataclass(frozen=True)
class Ranking:
    """One score over the checkpoints that have it.

    Attributes:
        score: Name of the score.
        count: Checkpoints with this score and the true mAP.
        spearman: Rank correlation with the true mAP over all of them; None below 3 checkpoints or
            if one of both is constant.
        within: Mean rank correlation within runs that have at least 3 checkpoints, or None.
        chosen: Checkpoint with the highest score.
        chosen_map: Its true mAP.
        regret: The best true mAP minus this.
    """

    score: str
    count: int
    spearman: float | None
    within: float | None
    chosen: str
    chosen_map: float
    regret: float


def rank_scores(
    records: Sequence[Mapping[str, Any]], scores: Sequence[str] = SCORES
) -> list[Ranking]:
    """Compare every score with the true target mAP.

    Args:
        records: A checkpoint each: ``name``, ``run``, ``target_mAP`` and any of the scores; missing
            and non-finite values are left out.
        scores: Names; a score that no record has is left out.
    """
    result = []
    for score in scores:
        have = [r for r in records if _is_number(r.get(score)) and _is_number(r.get(TRUTH))]
        if not have:
            continue
        values, truth = (np.array([r[key] for r in have], float) for key in (score, TRUTH))
        runs = np.array([r['run'] for r in have])
        parts = [spearman(values[runs == run], truth[runs == run]) for run in np.unique(runs)]
        within = [part for part in parts if part is not None]
        best = int(np.argmax(values))
        result.append(
            Ranking(
                score,
                len(have),
                spearman(values, truth),
                float(np.mean(within)) if within else None,
                have[best]['name'],
                float(truth[best]),
                float(truth.max() - truth[best]),
            )
        )
    return result


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation, equal values sharing their mean rank; None if undefined."""
    if len(a) < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
