"""What the pictures are drawn from: projections and spectra against a second route."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.core.gap import Corpus
from isthmus.evaluation.report import ReportContents
from isthmus.evaluation.report.projection import POINT_PAIRS_MAX, project
from isthmus.evaluation.report.spectrum import spectrum_of


def corpus(count: int = 400, dimension: int = 12, *, seed: int = 0) -> Corpus:
    """Make pairs with a gap."""
    rng = np.random.default_rng(seed)
    meaning, gap = rng.normal(size=(count, dimension)), rng.normal(size=dimension)
    return Corpus.of(meaning + gap, meaning + 0.3 * rng.normal(size=meaning.shape) - gap)


def test_the_plane_is_that_of_the_singular_vectors() -> None:
    """Distances on the plane and the share that it shows are those of an SVD of all rows."""
    made = corpus(200)
    found = project(made, seed=0)
    both = np.concatenate([made.images, made.texts]).astype(np.float64)
    _, sigma, right = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
    assert found.shown_share == pytest.approx(np.square(sigma[:2]).sum() / np.square(sigma).sum())
    order = [int(key) for key in made.balanced().keys["image"]]  # type: ignore[index]
    wanted = (made.images[order] - both.mean(axis=0)) @ right[:2].T
    np.testing.assert_allclose(np.abs(found.images), np.abs(wanted), atol=1e-6)
    assert found.images[:, 0].mean() < found.texts[:, 0].mean()  # images to the left, always


def test_no_more_points_are_drawn_than_can_be_seen() -> None:
    """Of many pairs a seeded sample is drawn; the plane is fitted to all of them."""
    found = project(corpus(), seed=0)
    assert found.images.shape == found.texts.shape == (POINT_PAIRS_MAX, 2)
    assert found.pair_count == 400


def test_a_spectrum_counts_the_directions_in_use() -> None:
    """Three equal directions of twelve: three hold everything, whatever the rotation."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    corners = np.concatenate([np.eye(12)[:3], -np.eye(12)[:3]]).repeat(10, axis=0) @ turn
    found = spectrum_of(Corpus.of(corners, corners)).image
    assert (found.most_count, found.dimension) == (3, 12)
    assert found.effective_count == pytest.approx(3.0, abs=1e-6)
    assert sum(found.shares) == pytest.approx(1.0)


def test_equal_rows_spread_along_no_direction() -> None:
    """A degenerate modality is drawn, not divided by zero."""
    images = np.tile(np.eye(4)[:1], (20, 1))
    found = spectrum_of(Corpus.of(images, np.random.default_rng(0).normal(size=(20, 4))))
    assert found.image.most_count == 1


def test_a_comparison_is_judged_on_held_out_pairs_alone(full: ReportContents) -> None:
    """Before and after are the same pairs, and none of them was learned from."""
    assert full.after is not None
    assert full.learned_pair_count is not None
    assert full.before.gap.n == full.after.gap.n
    assert full.before.gap.n + full.learned_pair_count == 500
