"""The probe on features whose distance is known."""

import numpy as np
import pytest
from scipy.stats import norm

from mmstal_da.evaluation.domain_gap.embedding import embed
from mmstal_da.evaluation.domain_gap.probe import probe_domains, proxy_a_distance, video_sums


def gaussians(shift: float, videos: int = 60, per_video: int = 2, width: int = 4, seed: int = 0):
    """Two Gaussians with means ``shift`` apart along the first axis."""
    rng = np.random.default_rng(seed)
    n = videos * per_video
    features = rng.normal(size=(2 * n, width))
    domains = np.repeat([0, 1], n)
    features[:, 0] += shift * domains
    names = np.tile(np.repeat([f'v{i}' for i in range(videos)], per_video), 2)
    return features, domains, names


@pytest.mark.slow
@pytest.mark.parametrize('shift', [0.0, 1.0, 2.0, 8.0])
def test_the_distance_is_that_of_the_best_linear_classifier(shift):
    """Of two Gaussians it is right with probability Phi(shift / 2)."""
    probe = probe_domains(*gaussians(shift, videos=150))
    best = norm.cdf(shift / 2)
    assert probe.accuracy == pytest.approx(best, abs=0.06)
    assert probe.distance == pytest.approx(2 * (2 * probe.accuracy - 1))
    assert probe.low <= probe.distance <= probe.high
    assert probe.low <= proxy_a_distance(best) + 0.1 and probe.high >= proxy_a_distance(best) - 0.1
    assert probe.num_videos == (150, 150)


def test_no_video_is_in_both_parts():
    """Features that only say which video it is help nobody on other videos.

    Split by rows, the probe would be right every time.
    """
    rng = np.random.default_rng(1)
    videos, per_video = 40, 6
    own = rng.normal(size=(2 * videos, 200))  # a point per video, whatever its domain
    features = np.repeat(own, per_video, axis=0) + 0.01 * rng.normal(size=(480, 200))
    domains = np.repeat([0, 1], videos * per_video)
    names = np.tile(np.repeat([f'v{i}' for i in range(videos)], per_video), 2)
    assert probe_domains(features, domains, names).accuracy < 0.65
    every_row_a_video = np.arange(480).astype(str)
    assert probe_domains(features, domains, every_row_a_video).accuracy > 0.95


@pytest.mark.slow
def test_domains_count_alike_however_many_rows_they_have():
    features, domains, names = gaussians(0.0, videos=100)
    few = np.concatenate((np.arange(200), np.arange(200, 220)))
    probe = probe_domains(features[few], domains[few], names[few])
    assert 0.3 < probe.accuracy < 0.7  # always "source" would be right on 91 % of the rows
    # with a threshold for rows that are mostly source it would be 0.71
    features, domains, names = gaussians(2.0, videos=1200, per_video=1)
    few = np.arange(1320)
    probe = probe_domains(features[few], domains[few], names[few])
    assert probe.accuracy == pytest.approx(norm.cdf(1), abs=0.06)


def test_the_unit_of_a_feature_does_not_matter():
    features, domains, names = gaussians(3.0, videos=30)
    scaled = features * np.array([1e-6, 1e3, 1, 1]) + 7
    expected = probe_domains(features, domains, names).accuracy
    assert probe_domains(scaled, domains, names).accuracy == pytest.approx(expected, abs=0.01)


def test_the_interval_is_wide_for_few_videos_and_not_for_many_frames():
    wide = probe_domains(*gaussians(1.0, videos=10, per_video=20))
    narrow = probe_domains(*gaussians(1.0, videos=200, per_video=1))
    assert narrow.high - narrow.low < 0.7
    # frames of a video that are equal add nothing
    features, domains, names = gaussians(1.0, videos=20, per_video=1)
    often = np.repeat(np.arange(40), 10)
    once, ten = (probe_domains(features[i], domains[i], names[i]) for i in (np.arange(40), often))
    assert ten.high - ten.low == pytest.approx(once.high - once.low, abs=0.35)
    assert wide.high > wide.low


def test_the_bootstrap_is_over_videos():
    right = np.array([True, True, False, True, False])
    sums = video_sums(right, np.array([3, 3, 3, 8, 8]))
    np.testing.assert_array_equal(sums, [[2, 3], [1, 2]])


def test_a_seed_gives_equal_results_and_bad_input_is_said():
    data = gaussians(1.0, videos=20)
    assert probe_domains(*data, seed=3) == probe_domains(*data, seed=3)
    with pytest.raises(ValueError, match='20 source and 20 target videos are too few for 30'):
        probe_domains(*data, folds=30)
    data[0][3, 1] = np.nan
    with pytest.raises(ValueError, match='diverged'):
        probe_domains(*data)


@pytest.mark.slow
@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_clusters_stay_apart_in_the_plane(method):
    features, domains, _ = gaussians(0.0, videos=20)
    features += 30 * domains[:, None]
    points = embed(features, method)
    assert points.shape == (80, 2) and np.isfinite(points).all()
    centres = [points[domains == d].mean(0) for d in (0, 1)]
    nearest = [np.linalg.norm(points - c, axis=1) for c in centres]
    assert ((nearest[1] < nearest[0]) == domains.astype(bool)).all()
    np.testing.assert_array_equal(points, embed(features, method))


def test_pca_is_that_of_the_covariance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) + 5
    standardised = (features - features.mean(0)) / features.std(0)
    _, vectors = np.linalg.eigh(np.cov(standardised.T))
    expected = standardised @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(embed(features)), np.abs(expected), atol=1e-8)
    with pytest.raises(ValueError, match='pca, tsne'):
        embed(features, 'umap')
