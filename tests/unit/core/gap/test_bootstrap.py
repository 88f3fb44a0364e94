"""Intervals by pair key."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from isthmus.core import Modality
from isthmus.core.gap import ClusterBootstrap
from tests.unit.core.gap.conftest import Small


def test_the_interval_of_a_mean_is_scipys(small_corpus: Callable[..., Small]) -> None:
    """Second route: SciPy's percentile bootstrap of the same values, one item a key."""
    small = small_corpus(200, replicates=2_000)
    values = np.random.default_rng(0).gamma(2.0, size=200)
    found = small.bootstrap.mean(values, Modality.IMAGE)
    expected = scipy_bootstrap((values,), np.mean, method="percentile", n_resamples=2_000, rng=1)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (expected.confidence_interval.low, expected.confidence_interval.high), abs=0.02
    )


def test_five_equal_captions_are_one_observation(small_corpus: Callable[..., Small]) -> None:
    """The same value five times a key: the interval is as wide as with one, not narrower by the root of five."""
    values = np.random.default_rng(0).normal(size=150)
    one, five = small_corpus(150, 1).bootstrap, small_corpus(150, 5).bootstrap
    widths = [
        figure.high - figure.low
        for figure in (one.mean(values, Modality.TEXT), five.mean(np.repeat(values, 5), Modality.TEXT))
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_intervals_of_a_mean_hold_the_truth_as_often_as_they_say(small_corpus: Callable[..., Small]) -> None:
    """95 % of 200 intervals, within what chance allows."""
    bootstrap = small_corpus(100, replicates=400).bootstrap
    rng = np.random.default_rng(8)
    figures = [bootstrap.mean(rng.normal(size=100), Modality.IMAGE) for _ in range(200)]
    assert 0.90 <= np.mean([figure.low <= 0.0 <= figure.high for figure in figures]) <= 0.99  # .925 measured


def test_the_same_seed_draws_the_same_keys(small_corpus: Callable[..., Small]) -> None:
    """So differences between measures are paired; another seed draws others."""
    corpus = small_corpus(40).corpus
    values = np.arange(40.0)
    once, again, other = (ClusterBootstrap(corpus, seed=seed) for seed in (3, 3, 4))
    assert once.mean(values, Modality.IMAGE) == again.mean(values, Modality.IMAGE)
    assert once.mean(values, Modality.IMAGE) == once.mean(values, Modality.TEXT)
    assert once.mean(values, Modality.IMAGE) != other.mean(values, Modality.IMAGE)


def test_items_without_a_value_are_left_out(small_corpus: Callable[..., Small]) -> None:
    """NaN is no value; nothing but NaN has the mean 0 and no width."""
    bootstrap = small_corpus(40).bootstrap
    values = np.where(np.arange(40) < 30, 2.0, np.nan)
    figure = bootstrap.mean(values, Modality.IMAGE)
    assert (figure.value, figure.low, figure.high) == pytest.approx((2.0, 2.0, 2.0))
    assert bootstrap.mean(np.full(40, np.nan), Modality.IMAGE).high == 0.0
