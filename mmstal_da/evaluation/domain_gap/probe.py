"""Proxy A-distance of two domains by a freshly trained linear probe."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MISSING = "scikit-learn is not installed; pip install 'mmstal_da[analysis]'"


@dataclass(frozen=True)
class Probe:
    """What a probe reaches on videos that it was not trained on.

    Attributes:
        accuracy: Mean of the accuracies on source and target; 0.5 is guessing.
        distance: Proxy A-distance ``2 (1 - 2 e)`` with the error ``e = 1 - accuracy``: 0 if the
            domains cannot be distinguished, 2 if they always can. It may fall below 0.
        low, high: The distance's interval, see :func:`probe_domains`.
        num_videos: Source and target.
    """

    accuracy: float
    distance: float
    low: float
    high: float
    num_videos: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def probe_domains(
    features: np.ndarray,
    domains: np.ndarray,
    videos: np.ndarray,
    folds: int = 5,
    strength: float = 1.0,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Probe:
    """Train logistic regression to recognise the domain; test it on other videos.

    Source: Ben-David et al., "Analysis of representations for domain adaptation", NeurIPS 2006.
    Features are standardised on each training part. All rows of a video are in one fold, since
    frames of a video resemble each other more than the domain does. The two domains have equal
    weight, however many rows they have.

    The interval is a bootstrap over the videos of each domain: held-out predictions are resampled,
    probes are not trained again. So it shows how few videos there are, not how a probe varies.

    Args:
        features: (N, C), one row per key frame.
        domains: (N,), 0 source, 1 target.
        videos: (N,) name of each row's video; equal names in both domains are two videos.
        folds: Parts of the cross-validation.
        strength: Inverse strength of the L2 penalty (scikit-learn's ``C``).
        resamples: Bootstrap samples.
        level: Of the interval.
        seed: Of folds and bootstrap.

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: A domain has fewer videos than folds, or a value is not finite.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(MISSING) from error
    domains = np.asarray(domains).astype(int)
    groups = group_of(domains, videos)
    counts = [len(np.unique(groups[domains == domain])) for domain in (0, 1)]
    if min(counts) < folds:
        raise ValueError(
            f'{counts[0]} source and {counts[1]} target videos are too few for {folds} folds; use'
            ' more videos or fewer folds'
        )
    if not np.isfinite(features).all():
        raise ValueError('the features have values that are not finite; has the training diverged?')
    right = np.zeros(len(features), bool)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(features, domains, groups):
        classifier = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, class_weight='balanced', max_iter=2000),
        )
        classifier.fit(features[train], domains[train])
        right[test] = classifier.predict(features[test]) == domains[test]
    sums = [video_sums(right[domains == d], groups[domains == d]) for d in (0, 1)]
    accuracy = float(np.mean([s[:, 0].sum() / s[:, 1].sum() for s in sums]))
    rng = np.random.default_rng(seed)
    means = []
    for per_video in sums:
        chosen = rng.integers(0, len(per_video), (resamples, len(per_video)))
        total = per_video[chosen].sum(1)  # (resamples, 2)
        means.append(total[:, 0] / total[:, 1])
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile([proxy_a_distance(value) for value in np.mean(means, axis=0)], tails)
    return Probe(
        accuracy, proxy_a_distance(accuracy), float(low), float(high), (counts[0], counts[1])
    )


def proxy_a_distance(accuracy: float) -> float:
    """``2 (1 - 2 e)`` with ``e = 1 - accuracy``."""
    return 2 * (1 - 2 * (1 - accuracy))


def group_of(domains: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """(N,) number of each row's video; equal names in both domains have two numbers."""
    names = np.array([f'{domain}/{name}' for domain, name in zip(domains, videos, strict=True)])
    return np.unique(names, return_inverse=True)[1]


def video_sums(right: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(V, 2) for every video: rows that are right, and rows."""
    index = np.unique(groups, return_inverse=True)[1]
    return np.column_stack((np.bincount(index, right), np.bincount(index))).astype(float)
