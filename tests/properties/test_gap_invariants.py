"""What must hold for any corpus (the invariants of the measures)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import Modality
from isthmus.core.errors import LeakError
from isthmus.core.gap import (
    ClusterBootstrap,
    Corpus,
    compare_distances,
    fold_rows,
    folded_retrieval,
    gap_retrieval,
    gaussian_gap,
    heterogeneity,
    measure_gap,
    mmd_gap,
    paired_cosine,
    relative_gap,
    scan_cosines,
    sinkhorn_gap,
    sliced_gap,
)
from isthmus.core.splits import join_equal_photos, split_pairs

seeds = st.integers(0, 2**32 - 1)


def rows(seed: int, count: int = 40, dimension: int = 6, *, gap: float = 0.0) -> tuple[Any, Any]:
    """Return related images and texts."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, dimension))
    offset = gap * rng.normal(size=dimension)
    return meaning + offset, meaning + 0.2 * rng.normal(size=meaning.shape) - offset


def given_to(corpus: Corpus, **more: Any) -> dict[str, Any]:
    """Return what a measure is given beside the corpus."""
    return {"bootstrap": ClusterBootstrap(corpus, seed=0, replicate_count=20), "seed": 0, **more}


@settings(max_examples=25, deadline=None)
@given(seed=seeds, gap=st.floats(0.0, 1.0))
def test_permuting_the_pairs_leaves_the_clouds_and_takes_recall(seed: int, gap: float) -> None:
    """ITR, TIR, TMR, IMR, FID, sliced W2 see clouds, not pairs; R@10 of 200 falls to a twentieth."""
    images, texts = rows(seed, 200, gap=gap)
    keys = [f"{number:03}" for number in range(200)]
    order = np.random.default_rng(seed).permutation(200)
    paired = Corpus.of(images, texts, image_keys=keys, text_keys=keys)
    strangers = Corpus.of(images, texts, image_keys=keys, text_keys=[keys[row] for row in order])
    figures = []
    for corpus in (paired, strangers.balanced()):
        mixing = heterogeneity(scan_cosines(corpus), **given_to(corpus))
        figures.append(
            [
                mixing.image_query.ratio.value,
                mixing.text_query.ratio.value,
                mixing.image_query.mean_rank.value,
                mixing.text_query.mean_rank.value,
                gaussian_gap(corpus, **given_to(corpus, sampled=False)).fid.value,
                sliced_gap(corpus, **given_to(corpus, sampled=False)).w2.value,
            ]
        )
    assert figures[1] == pytest.approx(figures[0], rel=1e-6, abs=1e-9)
    recall = gap_retrieval(scan_cosines(strangers), **given_to(strangers)).t2i.recall.r10
    assert recall <= 0.16  # a twentieth, plus five standard deviations and what a permutation leaves in place
    assert recall < gap_retrieval(scan_cosines(paired), **given_to(paired)).t2i.recall.r10


@settings(max_examples=25, deadline=None)
@given(seed=seeds, count=st.integers(16, 60), dimension=st.integers(1, 70))
def test_equal_clouds_have_no_distance(seed: int, count: int, dimension: int) -> None:
    """X = Y: FID, sliced W2, Sinkhorn, MMD and the relative gap are 0, with fewer rows than dimensions too."""
    images, _ = rows(seed, count, dimension)
    corpus = Corpus.of(images, images)
    given_ = given_to(corpus, sampled=False)
    assert gaussian_gap(corpus, **given_).fid.value == pytest.approx(0.0, abs=1e-7)
    assert sliced_gap(corpus, **given_).w2.value == 0.0
    assert sinkhorn_gap(corpus, **given_).divergence.value == pytest.approx(0.0, abs=1e-5)
    assert mmd_gap(corpus, **given_).squared.value == pytest.approx(0.0, abs=1e-6)
    assert relative_gap(corpus, **given_to(corpus)).ratio.value == pytest.approx(0.0, abs=1e-5)
    assert paired_cosine(corpus, **given_to(corpus)).cosine.value == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, gap=st.floats(0.0, 2.0))
def test_a_rotation_of_the_space_changes_no_measure(seed: int, gap: float) -> None:
    """All are about distances; only float32 rounding and the sliced directions, which do not turn along, differ."""
    images, texts = rows(seed, 40, gap=gap)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    before, after = (measure_gap(images @ turn, texts @ turn, seed=1).headline() for turn in (np.eye(6), rotation))
    # A rank may flip where two cosines differ in the last bit.
    for name in ("centroid", "rmg", "fid", "sinkhorn", "mmd", "alignment", "uniformity", "paired_cosine"):
        assert after[name] == pytest.approx(before[name], abs=2e-5), name


@settings(max_examples=25, deadline=None)
@given(seed=seeds, gap=st.floats(0.0, 1.0))
def test_unit_rows_rank_alike_by_euclid_and_cosine(seed: int, gap: float) -> None:
    """On rows of length one the two never differ by more than a tie within rounding."""
    corpus = Corpus.of(*rows(seed, gap=gap))
    figures = compare_distances(corpus, **given_to(corpus, sampled=False)).figures
    assert figures["euclidean"].mrr_over_cosine.value == pytest.approx(0.0, abs=0.02)
    assert figures["euclidean"].t2i_r1.value == pytest.approx(figures["cosine"].t2i_r1.value, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, captions=st.integers(1, 3), folds=st.integers(1, 5))
def test_figures_stay_in_their_bounds_and_folds_average(seed: int, captions: int, folds: int) -> None:
    """The rSum is at most 600, shares lie in [0, 1], intervals around values; folds are averaged."""
    images, texts = rows(seed, 40)
    keys = [str(number) for number in range(40)]
    corpus = Corpus.of(
        images, np.repeat(texts, captions, axis=0), image_keys=keys, text_keys=np.repeat(keys, captions).tolist()
    )
    found = gap_retrieval(scan_cosines(corpus), **given_to(corpus))
    assert 0.0 <= found.rsum.low <= found.rsum.value <= found.rsum.high <= 600.0 + 1e-9
    for side in (found.t2i, found.i2t):
        for name, figure in side.intervals.items():
            assert 0.0 <= figure.low <= figure.value <= figure.high <= 1.0 + 1e-12, name
    parts = fold_rows(corpus, folds=folds, seed=0)
    assert sum(len(part.images) for part in parts) == 40
    hits = [gap_retrieval(scan_cosines(part), **given_to(part)).i2t.recall.r1 for part in parts]
    assert folded_retrieval(corpus, folds=folds, seed=0).i2t.r1 == pytest.approx(np.mean(hits))
    if folds == 1:
        assert hits[0] == found.i2t.recall.r1


@settings(max_examples=30, deadline=None)
@given(seed=seeds, data=st.data())
def test_one_photo_on_both_sides_makes_the_split_refuse(seed: int, data: st.DataObject) -> None:
    """Planted anywhere, at any length: refused; its keys joined, every photo is on one side."""
    images, _ = rows(seed, 40)
    keys = [f"photo-{number}" for number in range(40)]
    clean = split_pairs(keys, keys, seed=seed, image_vectors=images)
    planted = images.copy()
    source, target = (int(data.draw(st.sampled_from(side.tolist()))) for side in (clean.fit_images, clean.test_images))
    planted[target] = planted[source] * data.draw(st.floats(0.1, 10.0))
    with pytest.raises(LeakError):
        split_pairs(keys, keys, seed=seed, image_vectors=planted)
    joined = join_equal_photos(keys, planted)
    mended = [joined[key] for key in keys]
    split = split_pairs(mended, mended, seed=seed, image_vectors=planted)
    assert (target in split.fit_images) == (source in split.fit_images)
    assert sorted([*split.fit_images, *split.test_images]) == list(range(40))


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_closing_the_gap_lowers_every_measure_of_it(seed: int) -> None:
    """The same clouds with their means apart and together: each distance shrinks, and the ratios too."""
    apart, together = (measure_gap(*rows(seed, 60, gap=gap)).headline() for gap in (1.5, 0.0))
    for name in ("centroid", "rmg", "fid", "sliced_w2", "sinkhorn", "mmd", "separability", "itr", "tir", "alignment"):
        wide, narrow = apart[name], together[name]
        assert wide is not None
        assert narrow is not None
        assert wide > narrow, name


def test_modalities_are_symmetric() -> None:
    """Exchange images and texts: distances stay, image figures become text figures."""
    images, texts = rows(3, gap=0.4)
    one, other = measure_gap(images, texts), measure_gap(texts, images)
    assert one.heterogeneity is not None
    assert other.heterogeneity is not None
    assert one.heterogeneity.image_query == other.heterogeneity.text_query
    for name in ("centroid", "rmg", "fid", "sliced_w2", "sinkhorn", "mmd", "hubness"):
        assert one.headline()[name] == pytest.approx(other.headline()[name], abs=1e-6), name
    assert Modality.IMAGE.other is Modality.TEXT
