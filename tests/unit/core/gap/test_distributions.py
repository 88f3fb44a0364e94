"""Distances between the two clouds, each by a second route and with an honest interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression

from isthmus.core import Modality
from isthmus.core.gap import (
    ClusterBootstrap,
    Corpus,
    gaussian_gap,
    mmd_gap,
    separability,
    sinkhorn_gap,
    sliced_gap,
)
from isthmus.core.gap.gaussian import _Frechet
from isthmus.core.gap.sinkhorn import _Divergence
from isthmus.core.pot import load_pot
from isthmus.core.splits import held_out
from tests.unit.core.gap.conftest import Small


def _resampled_width(measure: Callable[[np.ndarray, np.ndarray], float], small: Small, count: int) -> float:
    """Return 2 * 1.96 standard deviations of a measure over really resampled pairs."""
    rng = np.random.default_rng(5)
    n = len(small.corpus.images)
    drawn = [
        measure(small.corpus.images[rows], small.corpus.texts[rows]) for rows in rng.integers(0, n, size=(count, n))
    ]
    return 2 * 1.96 * float(np.std(drawn))


def test_fid_equals_the_formula_with_a_matrix_root(small_corpus: Callable[..., Small]) -> None:
    """Second route: SciPy's square root of the product of the covariances."""
    small = small_corpus(300)
    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    ridge = 1e-6 * np.eye(12)
    cx, cy = np.cov(x.T) + ridge, np.cov(y.T) + ridge
    shift = x.mean(axis=0) - y.mean(axis=0)
    expected = shift @ shift + np.trace(cx + cy - 2 * sqrtm(cx @ cy).real)
    found = gaussian_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    assert found.fid.value == pytest.approx(expected, abs=1e-8)
    assert found.w2 == pytest.approx(expected**0.5)
    assert found.mean_part + found.covariance_part == pytest.approx(found.fid.value)


def test_fid_equals_pots_bures_distance(small_corpus: Callable[..., Small]) -> None:
    """Third route: POT's Wasserstein distance of two Gaussians, with the same ridge."""
    small = small_corpus(300)
    expected = load_pot().gaussian.empirical_bures_wasserstein_distance(
        small.corpus.images.astype(float), small.corpus.texts.astype(float), reg=1e-6
    )
    found = gaussian_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    assert found.w2 == pytest.approx(float(expected), rel=2e-3)  # it divides by n, we by n - 1


def test_fid_intervals_are_those_of_a_real_bootstrap(small_corpus: Callable[..., Small]) -> None:
    """The potentials' first-order interval is as wide as one from 300 recomputed distances, within a quarter."""
    small = small_corpus(400)
    found = gaussian_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False).fid
    width = _resampled_width(lambda x, y: _Frechet(x, y).squared, small, 300)
    assert found.high - found.low == pytest.approx(width, rel=0.25)  # .0719 against .0726 measured
    assert found.noise_floor is not None
    assert found.noise_floor < found.low


def test_sliced_w2_equals_pots(small_corpus: Callable[..., Small]) -> None:
    """Second route: POT along the same directions."""
    small = small_corpus(150)
    found = sliced_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    directions = np.random.default_rng(0).normal(size=(12, 128))
    directions /= np.linalg.norm(directions, axis=0)
    expected = load_pot().sliced_wasserstein_distance(
        small.corpus.images.astype(float), small.corpus.texts.astype(float), projections=directions
    )
    assert found.w2.value == pytest.approx(float(expected), abs=1e-7)
    assert found.squared == pytest.approx(found.w2.value**2)


def test_sliced_w2_intervals_are_those_of_a_real_bootstrap(small_corpus: Callable[..., Small]) -> None:
    """As for FID, through sorted projections recomputed 300 times."""
    small = small_corpus(400)
    found = sliced_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False).w2
    directions = np.random.default_rng(0).normal(size=(12, 128))
    directions /= np.linalg.norm(directions, axis=0)

    def measure(x: np.ndarray, y: np.ndarray) -> float:
        gaps = np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)
        return float(np.sqrt(np.square(gaps).mean()))

    width = _resampled_width(measure, small, 300)
    assert found.high - found.low == pytest.approx(width, rel=0.25)  # .0128 against .0126 measured


def test_the_sinkhorn_divergence_equals_pots_value(small_corpus: Callable[..., Small]) -> None:
    """Second route: POT's solver in the log domain; cost plus entropy of its plans."""
    small = small_corpus(60)
    found = sinkhorn_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    ot = load_pot()

    def cost(x: np.ndarray, y: np.ndarray) -> float:
        a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        costs = ot.dist(x, y)
        plan = ot.bregman.sinkhorn_log(a, b, costs, found.epsilon, stopThr=1e-12, numItermax=20_000)
        entropy = np.sum(plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b)))
        return float((plan * costs).sum() + found.epsilon * entropy)

    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    expected = cost(x, y) - 0.5 * cost(x, x) - 0.5 * cost(y, y)
    assert found.divergence.value == pytest.approx(expected, abs=1e-4)
    assert found.converged
    assert found.marginal_error <= 1e-6


def test_sinkhorn_intervals_are_those_of_a_real_bootstrap(small_corpus: Callable[..., Small]) -> None:
    """As for FID; a hundred resampled divergences at the same epsilon."""
    small = small_corpus(120, noise=0.9)
    found = sinkhorn_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    width = _resampled_width(lambda x, y: _Divergence(x, y, epsilon=found.epsilon).value, small, 100)
    assert found.divergence.high - found.divergence.low == pytest.approx(width, rel=0.35)  # .116 against .110 measured


def test_mmd_equals_a_double_loop(small_corpus: Callable[..., Small]) -> None:
    """Second route: equation 4 of Gretton et al. 2012, pair by pair, with the same bandwidth."""
    small = small_corpus(25)
    found = mmd_gap(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    both = np.concatenate([x, y])
    distances = [np.linalg.norm(u - v) for place, u in enumerate(both) for v in both[place + 1 :]]
    assert found.bandwidth == pytest.approx(np.median(distances), abs=1e-5)

    def k(u: np.ndarray, v: np.ndarray) -> float:
        return float(np.exp(-np.sum((u - v) ** 2) / (2 * found.bandwidth**2)))

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i in range(25) for j in range(25) if i != j
    ]
    assert found.squared.value == pytest.approx(np.mean(terms), abs=1e-5)


def test_without_a_gap_every_distance_is_at_its_floor() -> None:
    """Two samples of one cloud: nothing is far above what halves of one modality show."""
    rng = np.random.default_rng(2)
    corpus = Corpus.of(rng.normal(size=(400, 8)), rng.normal(size=(400, 8)))
    given: dict[str, Any] = {"bootstrap": ClusterBootstrap(corpus, seed=0), "seed": 0, "sampled": False}
    for figure in (
        gaussian_gap(corpus, **given).fid,
        sliced_gap(corpus, **given).w2,
        sinkhorn_gap(corpus, **given).divergence,
    ):
        assert figure.noise_floor is not None
        assert figure.value < 1.5 * figure.noise_floor
    squared = mmd_gap(corpus, **given).squared
    assert squared.low < 0.0 < squared.high
    accuracy = separability(corpus, **given).accuracy
    assert accuracy.low < 0.55  # .547 [.475, .616] measured


def test_separability_is_the_accuracy_on_pairs_never_seen(small_corpus: Callable[..., Small]) -> None:
    """Second route: scikit-learn on the same hashed split; a wide gap is told apart without fail."""
    small = small_corpus(150, gap=0.15)
    test = held_out(small.corpus.keys[Modality.IMAGE], seed=7)
    both = np.concatenate([small.corpus.images, small.corpus.texts]) * np.sqrt(12)
    is_image = np.arange(300) < 150
    tests = np.concatenate([test, test])
    fitted = LogisticRegression(max_iter=1_000).fit(both[~tests], is_image[~tests])
    found = separability(small.corpus, bootstrap=small.bootstrap, seed=7, sampled=False)
    assert found.accuracy.value == pytest.approx(fitted.score(both[tests], is_image[tests]), abs=1e-9)
    assert found.test_pair_count == test.sum()
    assert 0.5 < found.accuracy.value < 1.0
    wide = small_corpus(150, gap=3.0)
    assert separability(wide.corpus, bootstrap=wide.bootstrap, seed=7, sampled=False).accuracy.value == 1.0
