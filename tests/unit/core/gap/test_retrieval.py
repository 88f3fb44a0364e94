"""Retrieval figures beside their intervals; distances and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isthmus.core import Modality
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.gap import (
    Corpus,
    cluster_homogeneity,
    compare_distances,
    fold_rows,
    folded_retrieval,
    gap_retrieval,
    gini,
    zero_shot,
)
from isthmus.core.metrics import cross_modal_recall
from tests.unit.core.gap.conftest import Small


def test_retrieval_equals_loops_over_sorted_lists(small_corpus: Callable[..., Small]) -> None:
    """Second route: the rank of every photo by a full sort; MRR, median rank and rSum follow."""
    small = small_corpus(60, 2, noise=1.2)
    found = gap_retrieval(small.scan, bootstrap=small.bootstrap, seed=0)
    order = np.argsort(-(small.corpus.texts @ small.corpus.images.T), axis=1)
    ranks = np.array([int(np.flatnonzero(row == caption // 2)[0]) for caption, row in enumerate(order)])
    side = found.t2i
    assert asdict(side.recall) == pytest.approx({f"r{k}": np.mean(ranks < k) for k in (1, 5, 10)})
    assert side.mean_reciprocal_rank == pytest.approx(np.mean(1.0 / (ranks + 1)))
    assert side.mean_average_precision == pytest.approx(side.mean_reciprocal_rank)  # one match a caption
    assert side.median_rank == 1 + np.median(ranks)
    six = [*asdict(found.t2i.recall).values(), *asdict(found.i2t.recall).values()]
    assert found.rsum.value == pytest.approx(100 * sum(six))
    assert found.rsum.low < found.rsum.value < found.rsum.high <= 600
    assert (found.n, side.query_count, found.i2t.query_count) == (60, 120, 60)
    for name, share in asdict(side.recall).items():
        assert side.intervals[name].low <= share <= side.intervals[name].high
        assert side.intervals[name].value == pytest.approx(share)


def test_list_diversity_is_one_minus_the_mean_cosine_inside_the_lists(small_corpus: Callable[..., Small]) -> None:
    """Second route: every two answers of every list."""
    small = small_corpus(30)
    found = gap_retrieval(small.scan, bootstrap=small.bootstrap, seed=0).t2i.list_diversity
    images = small.corpus.images.astype(float)
    lists = small.scan.sides[Modality.TEXT].other_neighbors
    cosines = [images[a] @ images[b] for row in lists for a in row for b in row if a != b]
    assert found == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_folds_part_the_photos_and_average(small_corpus: Callable[..., Small]) -> None:
    """The "1K" protocol: five disjoint folds with all captions; its figure is their mean, and higher than the whole."""
    small = small_corpus(100, 3, noise=1.5)
    folds = fold_rows(small.corpus, folds=5, seed=0)
    keys = [set(fold.keys[Modality.IMAGE]) for fold in folds]
    assert [len(fold.texts) for fold in folds] == [60] * 5
    assert len(set.union(*keys)) == sum(map(len, keys)) == 100
    recalls = [
        cross_modal_recall(
            fold.texts, fold.images, query_codes=fold.codes[Modality.TEXT], item_codes=fold.codes[Modality.IMAGE]
        ).r1
        for fold in folds
    ]
    found = folded_retrieval(small.corpus, folds=5, seed=0)
    assert found.t2i.r1 == pytest.approx(np.mean(recalls))
    six = [*asdict(found.t2i).values(), *asdict(found.i2t).values()]
    assert found.rsum == pytest.approx(100 * sum(six))
    assert found.t2i.r1 > gap_retrieval(small.scan, bootstrap=small.bootstrap, seed=0).t2i.recall.r1


def test_distances_judge_as_scipys_do(small_corpus: Callable[..., Small]) -> None:
    """Second route: SciPy's metrics on vectors of any length, and the signed chi-square term by term."""
    small = small_corpus(50)
    rng = np.random.default_rng(0)
    raw = {modality: small.corpus.vectors[modality] * rng.uniform(0.5, 2.0, size=(50, 1)) for modality in Modality}
    found = compare_distances(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False, raw=raw)
    x, y = raw[Modality.IMAGE], raw[Modality.TEXT]
    chi = np.array([[0.5 * np.sum((u - v) ** 2 / (np.abs(u) + np.abs(v) + 1e-12)) for v in y] for u in x])
    for name, distances in (
        ("cosine", cdist(x, y, "cosine")),
        ("euclidean", cdist(x, y)),
        ("manhattan", cdist(x, y, "cityblock")),
        ("chi_square", chi),
    ):
        figures = found.figures[name]
        assert figures.i2t_r1.value == np.mean(distances.argmin(axis=1) == np.arange(50)), name
        assert figures.t2i_r1.value == np.mean(distances.argmin(axis=0) == np.arange(50)), name
        ranks = (distances < np.diag(distances)[:, None]).sum(axis=1)
        assert figures.i2t_mrr.value == pytest.approx(np.mean(1 / (1 + ranks))), name
    assert not found.normalized
    assert found.figures["cosine"].mrr_over_cosine.high == 0.0
    assert found.figures["euclidean"].mrr_over_cosine.value != 0.0


def test_unit_rows_rank_alike_by_euclid_and_cosine(small_corpus: Callable[..., Small]) -> None:
    """||x - y||² = 2 - 2 cos: the difference is none, with an interval of no width."""
    small = small_corpus(60)
    found = compare_distances(small.corpus, bootstrap=small.bootstrap, seed=0, sampled=False)
    assert found.normalized
    gain = found.figures["euclidean"].mrr_over_cosine
    assert (gain.low, gain.value, gain.high) == (0.0, 0.0, 0.0)


def test_zero_shot_counts_the_nearest_label(small_corpus: Callable[..., Small]) -> None:
    """Second route: an argmax by hand; images without a label are not judged."""
    small = small_corpus(40)
    directions = np.eye(12)[:3]
    labels: list[str | None] = [["a", "b", "c"][int(row)] for row in small.corpus.images[:, :3].argmax(axis=1)]
    labels[0] = "b" if labels[0] != "b" else "c"
    labels[1] = None
    found = zero_shot(
        small.corpus,
        image_labels=labels,
        label_vectors={name: 5.0 * direction for name, direction in zip("abc", directions, strict=True)},
        bootstrap=small.bootstrap,
        seed=0,
    )
    assert (found.n, found.label_count) == (39, 3)
    assert found.accuracy.value == pytest.approx(38 / 39)
    predicted = small.corpus.images[np.arange(40) != 1, :3].argmax(axis=1)
    assert found.gini == pytest.approx(float(gini(np.bincount(predicted, minlength=3))))
    with pytest.raises(ShapeError, match="a label that has no vector"):
        zero_shot(
            small.corpus,
            image_labels=["z"] * 40,
            label_vectors=dict(zip("abc", directions, strict=True)),
            bootstrap=small.bootstrap,
            seed=0,
        )


def test_clusters_are_modalities_under_a_gap_and_classes_without() -> None:
    """Two far classes: with a gap of the same size as wide as they are apart, k-means splits by modality instead."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.eye(6)[:2], 30, axis=0)
    labels = ["one"] * 30 + ["two"] * 30
    noise = 0.05 * rng.normal(size=(2, 60, 6))
    gap = 4.0 * np.eye(6)[5]
    near = Corpus.of(classes + noise[0], classes + noise[1])
    far = Corpus.of(classes + noise[0] + gap, classes + noise[1] - gap)
    merged = cluster_homogeneity(near.sample(seed=0), labels=_sorted(near, labels), seed=0, sampled=False)
    assert merged.by_label == pytest.approx(1.0)
    assert merged.by_modality == pytest.approx(0.0, abs=1e-9)
    apart = cluster_homogeneity(far.sample(seed=0), labels=_sorted(far, labels), seed=0, sampled=False)
    assert apart.by_modality == pytest.approx(1.0)
    assert apart.by_label == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(NotEnoughItemsError, match="1 different labels"):
        cluster_homogeneity(near.sample(seed=0), labels=["one"] * 60, seed=0, sampled=False)


def _sorted(corpus: Corpus, labels: list[str]) -> list[str]:
    """Return the labels in the order of a sample, which is sorted by key."""
    return [labels[int(key)] for key in corpus.paired_keys]
