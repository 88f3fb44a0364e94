"""Measures of means and pairs, each by a second route."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from isthmus.core import Modality
from isthmus.core.gap import (
    ClusterBootstrap,
    Corpus,
    alignment_uniformity,
    centroid_gap,
    neighbor_overlap,
    paired_cosine,
    relative_gap,
    score_histograms,
    structure_kept,
)
from tests.unit.core.gap.conftest import Small


def test_the_centroid_gap_is_the_distance_of_the_means(small_corpus: Callable[..., Small]) -> None:
    """Second route: numpy's norm; the interval is that of a real bootstrap within a fifth."""
    small = small_corpus(200)
    found = centroid_gap(small.corpus, bootstrap=small.bootstrap, seed=0)
    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    assert found.distance.value == pytest.approx(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)), abs=1e-7)
    rng = np.random.default_rng(0)
    drawn = [np.linalg.norm((x[rows] - y[rows]).mean(axis=0)) for rows in rng.integers(0, 200, size=(600, 200))]
    width = found.distance.high - found.distance.low
    assert width == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.2)  # .0651 against .0635 measured
    assert found.distance.noise_floor is not None
    assert 0.0 < found.distance.noise_floor < found.distance.low


def test_the_relative_gap_is_a_ratio_of_mean_distances(small_corpus: Callable[..., Small]) -> None:
    """Second route: SciPy's cosine distances of all pairs."""
    small = small_corpus(50)
    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    pair = np.diag(cdist(x, y, "cosine")).mean()
    own = 0.5 * (pdist(x, "cosine").mean() + pdist(y, "cosine").mean())
    found = relative_gap(small.corpus, bootstrap=small.bootstrap, seed=0)
    assert found.ratio.value == pytest.approx(pair / (pair + own), abs=1e-6)
    assert (found.pair_distance, found.own_distance) == pytest.approx((pair, own), abs=1e-6)
    assert found.ratio.low < found.ratio.value < found.ratio.high


def test_the_relative_gap_of_equal_pairs_is_none_and_of_strangers_a_half() -> None:
    """The two ends that give the scale its meaning."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 400, 16))
    for texts, expected in ((x, 0.0), (y, 0.5)):
        corpus = Corpus.of(x, texts)
        found = relative_gap(corpus, bootstrap=ClusterBootstrap(corpus, seed=0), seed=0)
        assert found.ratio.value == pytest.approx(expected, abs=0.01)  # .0000 and .5013 measured


def test_the_paired_cosine_and_its_floor_are_means_of_the_cosines(small_corpus: Callable[..., Small]) -> None:
    """Second route: the whole matrix; the floor is its off-diagonal."""
    small = small_corpus(40)
    cosines = small.corpus.images.astype(float) @ small.corpus.texts.astype(float).T
    found = paired_cosine(small.corpus, bootstrap=small.bootstrap, seed=0)
    assert found.cosine.value == pytest.approx(np.diag(cosines).mean(), abs=1e-6)
    assert found.cosine.noise_floor == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), abs=1e-6)


def test_alignment_and_uniformity_equal_their_definitions(small_corpus: Callable[..., Small]) -> None:
    """Second route: SciPy's squared distances of all pairs (Wang and Isola 2020, equations 1 and 2)."""
    small = small_corpus(45)
    x, y = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    found = alignment_uniformity(small.scan, bootstrap=small.bootstrap, seed=0)
    assert found.alignment.value == pytest.approx(np.square(x - y).sum(axis=1).mean(), abs=1e-5)
    for figure, rows in (
        (found.image_uniformity, x),
        (found.text_uniformity, y),
        (found.joint_uniformity, np.concatenate([x, y])),
    ):
        assert figure.value == pytest.approx(np.log(np.exp(-2 * pdist(rows, "sqeuclidean")).mean()), abs=1e-5)
        assert figure.low < figure.value < figure.high


def test_histograms_count_every_pair_once(small_corpus: Callable[..., Small]) -> None:
    """As many scores as there are pairs of each kind, at numpy's counts."""
    corpus = small_corpus(30).corpus
    found = score_histograms(corpus, seed=0, sampled=False)
    totals = [sum(one.counts) for one in (found.match, found.image_text, found.image_image, found.text_text)]
    assert totals == [30, 30 * 29, 30 * 29 // 2, 30 * 29 // 2]
    cosines = (corpus.images @ corpus.texts.T)[~np.eye(30, dtype=bool)]
    assert np.histogram(cosines, bins=np.array(found.edges))[0].tolist() == list(found.image_text.counts)
    assert found.match.mean > found.image_text.mean


def test_neighbors_are_shared_by_an_equal_space_and_by_chance_with_noise(small_corpus: Callable[..., Small]) -> None:
    """1 for a rotation of the images, near k / (n - 1) for unrelated texts; no common space is needed."""
    small = small_corpus(100)
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    turned = Corpus.of(small.corpus.images, small.corpus.images @ rotation)
    assert neighbor_overlap(turned, bootstrap=small.bootstrap, seed=0).overlap.value > 0.99
    noise = Corpus.of(small.corpus.images, rng.normal(size=(100, 7)))
    found = neighbor_overlap(noise, bootstrap=small.bootstrap, seed=0).overlap
    assert found.noise_floor == pytest.approx(10 / 99)
    assert abs(found.value - 10 / 99) < 0.03  # .090 measured
    scanned = neighbor_overlap(small.corpus, bootstrap=small.bootstrap, seed=0, scan=small.scan)
    assert scanned == neighbor_overlap(small.corpus, bootstrap=small.bootstrap, seed=0)


def test_a_rotation_keeps_structure_and_a_projection_loses_some(small_corpus: Callable[..., Small]) -> None:
    """Second route: sets of neighbours by a full sort."""
    small = small_corpus(80)
    rows = small.corpus.texts
    flat = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)

    def kept(mapped: np.ndarray) -> float:
        found = structure_kept(small.corpus, mapped, modality=Modality.TEXT, bootstrap=small.bootstrap, seed=0, k=5)
        return found.kept.value

    def nearest(vectors: np.ndarray) -> list[set[int]]:
        scores = vectors @ vectors.T - 3 * np.eye(len(vectors))
        return [set(row[:5]) for row in np.argsort(-scores, axis=1)]

    expected = np.mean([len(a & b) / 5 for a, b in zip(nearest(rows), nearest(flat), strict=True)])
    assert kept(flat) == pytest.approx(expected)
    assert kept(-rows) == pytest.approx(1.0)
    assert 0.1 < expected < 0.9
