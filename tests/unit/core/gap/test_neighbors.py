"""Heterogeneity and hubness by loops over sorted lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isthmus.core import Modality
from isthmus.core.gap import ClusterBootstrap, Corpus, gini, heterogeneity, hubness, scan_cosines
from tests.unit.core.gap.conftest import Small


def test_heterogeneity_equals_a_loop_over_the_mixed_database(small_corpus: Callable[..., Small]) -> None:
    """Second route: sort the 2n - 1 other items of every query and look who comes first, and where the other begins."""
    small = small_corpus(60, gap=0.12)
    found = heterogeneity(small.scan, bootstrap=small.bootstrap, seed=0)
    both = np.concatenate([small.corpus.images, small.corpus.texts])
    for side, first in ((found.image_query, 0), (found.text_query, 60)):
        own, ranks = 0, []
        for row in range(first, first + 60):
            scores = both @ both[row]
            scores[row] = -2.0
            is_own = (np.argsort(-scores)[:-1] // 60) == first // 60
            own += bool(is_own[0])
            ranks.append(1 + int(np.argmin(is_own)))
        assert (side.own_count, side.other_count, side.tied_count) == (own, 60 - own, 0)
        assert 0 < own < 60
        assert side.ratio.value == pytest.approx(own / (60 - own))
        assert side.ratio.low < side.ratio.value < side.ratio.high
        assert side.mean_rank.value == pytest.approx(np.mean(ranks))
        assert side.median_rank.value == np.median(ranks)
        assert not side.saturated


def test_a_full_gap_is_saturated_and_says_so(small_corpus: Callable[..., Small]) -> None:
    """No query finds the other modality first: the ratio is the number of queries, flagged, never infinite."""
    small = small_corpus(50, gap=4.0)
    side = heterogeneity(small.scan, bootstrap=small.bootstrap, seed=0).image_query
    assert (side.saturated, side.ratio.value, side.own_count) == (True, 50.0, 50)
    assert side.median_rank.value == 50.0


def test_equal_pairs_tie_with_nothing_and_find_each_other() -> None:
    """With X = Y each item's copy comes first: the ratio is 0, which is why the counts are shown."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    corpus = Corpus.of(x, x)
    found = heterogeneity(scan_cosines(corpus), bootstrap=ClusterBootstrap(corpus, seed=0), seed=0)
    assert found.image_query.ratio.value == 0.0
    assert found.image_query.other_count == 40
    assert found.image_query.mean_rank.value == 1.0


def test_gini_equals_the_mean_difference() -> None:
    """Second route: half the relative mean absolute difference; the two ends of the scale."""
    counts = np.array([0, 3, 3, 7, 1, 12])
    differences = np.abs(counts[:, None] - counts).mean()
    assert float(gini(counts)) == pytest.approx(differences / (2 * counts.mean()))
    assert float(gini(np.full(9, 4))) == pytest.approx(0.0)
    assert float(gini(np.array([0] * 99 + [5]))) == pytest.approx(0.99)
    assert float(gini(np.zeros(4, dtype=int))) == 0.0


def test_hubness_counts_who_is_found(small_corpus: Callable[..., Small]) -> None:
    """Second route: ten best of every query by a full sort, counted."""
    small = small_corpus(70, 2)
    found = hubness(small.scan, bootstrap=small.bootstrap, seed=0)
    lists = np.argsort(-(small.corpus.texts @ small.corpus.images.T), axis=1)[:, :10]
    occurrences = np.bincount(lists.ravel(), minlength=70)
    assert found.images.value == pytest.approx(float(gini(occurrences)))
    assert found.never_found_images == (occurrences == 0).mean()
    assert found.gini == pytest.approx(0.5 * (found.images.value + found.texts.value))
    assert found.images.low < found.images.value < found.images.high


def test_a_hub_is_seen() -> None:
    """An image amid the texts is in nearly every list, and the unevenness grows."""
    rng = np.random.default_rng(3)
    texts = rng.normal(size=(60, 20)) + 1.0
    images = rng.normal(size=(60, 20)) + 1.0
    plain, planted = Corpus.of(images, texts), images.copy()
    planted[0] = texts.mean(axis=0)
    hub = Corpus.of(planted, texts)
    figures = [
        hubness(scan_cosines(corpus), bootstrap=ClusterBootstrap(corpus, seed=0), seed=0).images.value
        for corpus in (plain, hub)
    ]
    assert figures[1] > figures[0]  # .460 against .423 measured
    lists = scan_cosines(hub).sides[Modality.TEXT].other_neighbors
    assert (lists == 0).any(axis=1).mean() > 0.9  # .95 measured, .42 before
