"""How high BM25 goes by chance: by independence, and as the query's own scores show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.core.calibration import WordScores

TEXTS = 20_000


def _exponential(scale: float, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(scale, TEXTS)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_tail_of_the_scores_gives_the_distribution_of_the_best(scale: float) -> None:
    """Exponential scores: mode scale ln N, and scale; the best of 100 such draws have z of mean 0 and deviation 1."""
    found = [WordScores.of(_exponential(scale, seed=seed), TEXTS) for seed in range(100)]
    assert np.mean([each.mode for each in found]) == pytest.approx(
        scale * math.log(TEXTS), rel=0.05
    )  # 1.02 and 1.00 of it
    assert np.mean([each.scale for each in found]) == pytest.approx(
        scale, rel=0.15
    )  # 1.05 and 1.01 of it, for 1 is the least
    best = [float(each.z(_exponential(scale, seed=seed).max(keepdims=True))[0]) for seed, each in enumerate(found)]
    assert abs(np.mean(best)) < 0.2  # -0.08 and 0.09
    assert 0.7 < np.std(best) < 1.3  # 0.96 and 1.03


def test_what_matches_is_no_impostor() -> None:
    """Seven matches high above all others leave mode and scale nearly as they were, and lie far beyond chance."""
    scores = _exponential(2.0)
    before = WordScores.of(scores, TEXTS)
    after = WordScores.of(np.concatenate([scores, np.full(7, 90.0)]), TEXTS + 7)
    assert (after.mode, after.scale) == pytest.approx((before.mode, before.scale), rel=0.2)
    assert after.z(np.array([90.0]))[0] > 20


def test_few_scores_say_nothing_and_independence_holds() -> None:
    """Up to 31 texts with one of the words: mode ln N, scale 1; none at all, and no texts, give numbers too."""
    assert WordScores.of(np.full(31, 50.0), 1_000) == WordScores(math.log(1_000), 1.0)
    assert WordScores.of(np.full(32, 50.0), 1_000).mode == pytest.approx(50.0)
    assert WordScores.of(np.empty(0), 0) == WordScores(0.0, 1.0)


@given(
    scores=hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0.01, 100)), more=st.integers(0, 1_000_000)
)
def test_z_rises_with_the_score(scores: np.ndarray, more: int) -> None:
    """Whatever the scores: finite, and of two the higher has the higher z."""
    z = WordScores.of(scores, len(scores) + more).z(np.sort(scores))
    assert np.isfinite(z).all()
    assert (np.diff(z) >= 0).all()
    assert (np.diff(z)[np.diff(np.sort(scores)) > 1e-6] > 0).all()
