"""Aligners and merge on 250 real CLIP pairs against a reference in numpy that shares no code with them.

Ten splits, `default_rng(seed).permutation(250)`, the first 125 fitted, the last 125 judged; percent, mean of the ten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import Modality
from isthmus.core.aligners import Aligner, FitOptions, FitPairs, Label, fit_artefact, load_aligner
from tests.harness.shared import SHARED_DATA, needs

CLIP_COCO = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
SPACE = "clip-vitb16@00112233445566aa"
LABEL = Label(aligner_id="a", created_by="a test")
SPLITS = 10

Rows: TypeAlias = NDArray[np.float64]
Sides: TypeAlias = tuple[Rows, Rows]
Figures: TypeAlias = tuple[float, ...]

# i2t R@1, mixed R@1 and R@20 of image queries, t2i R@1, mixed R@1 and R@20 of text queries: the figures.
STATED: dict[str, Figures] = {
    "identity": (73.8, 0.0, 0.0, 70.6, 0.0, 0.0),
    "center": (71.0, 11.1, 88.9, 69.6, 10.7, 89.1),
    "standardize": (71.7, 21.6, 94.1, 69.6, 13.6, 90.3),
    "spectral": (44.5, 22.9, 81.8, 43.4, 20.4, 82.1),
}
STATED_MERGED: dict[str, Figures] = {
    "identity": (73.8, 62.4, 97.0, 70.6, 62.2, 97.5),
    "center": (71.0, 52.5, 96.8, 69.6, 54.1, 97.4),
}


def unit(x: Rows) -> Rows:
    """Scale rows to unit length."""
    scaled: Rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    return scaled


def reference_spectral(x: Rows, y: Rows, test: Sides, k: int) -> Sides:
    """The n x n way: SVD of the normalised similarities, then the out-of-sample rule from the eigenvectors."""
    w = x @ y.T
    dx, dy = w.sum(axis=1), w.sum(axis=0)
    u, s, vt = np.linalg.svd(w / np.sqrt(dx[:, None] * dy[None, :]))
    images, texts = u[:, 1 : k + 1] / np.sqrt(dx)[:, None], vt[1 : k + 1].T / np.sqrt(dy)[:, None]
    s = s[1 : k + 1]
    a = (test[0] @ (y.T @ texts)) / (test[0] @ y.sum(axis=0))[:, None] / s
    b = (test[1] @ (x.T @ images)) / (test[1] @ x.sum(axis=0))[:, None] / s
    return unit(a), unit(b)


def reference(method: str, x: Rows, y: Rows) -> Callable[[Sides], Sides]:
    """Return the map that a method learns from pairs (x, y), written out."""
    if method == "center":
        return lambda test: (unit(test[0] - x.mean(axis=0)), unit(test[1] - y.mean(axis=0)))
    if method == "standardize":
        return lambda test: (
            unit((test[0] - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)),
            unit((test[1] - y.mean(axis=0)) / (y.std(axis=0) + 1e-6)),
        )
    if method == "spectral":
        return lambda test: reference_spectral(x, y, test, 60)
    return lambda test: test


def figures(sides: Sides, merge: tuple[Rows, Rows] | None = None) -> Figures:
    """Recall in percent; `merge` holds (mean, deviation) of own and cross impostors for image and for text queries."""
    found = []
    for query in (0, 1):
        own, cross = sides[query] @ sides[query].T, sides[query] @ sides[1 - query].T
        gold = np.diag(cross).copy()[:, None]
        found.append((np.sum(cross > gold, axis=1) < 1).mean())
        if merge is not None:
            (own_mean, own_deviation), (mean, deviation) = merge[query]
            own, cross, gold = (own - own_mean) / own_deviation, (cross - mean) / deviation, (gold - mean) / deviation
        np.fill_diagonal(own, -np.inf)
        rank = np.sum(cross > gold, axis=1) + np.sum(own > gold, axis=1)
        found += [(rank < 1).mean(), (rank < 20).mean()]
    return tuple(100.0 * float(value) for value in found)


def impostors(sides: Sides) -> tuple[Rows, Rows]:
    """Return mean and deviation of all non-matching scores, own and cross, for both query modalities."""
    off = ~np.eye(len(sides[0]), dtype=bool)
    rows = []
    for query in (0, 1):
        scores = [(sides[query] @ sides[item].T)[off] for item in (query, 1 - query)]
        rows.append(np.array([[found.mean(), found.std()] for found in scores]))
    return rows[0], rows[1]


def measured(method: str, *, merged: bool) -> tuple[Figures, Figures]:
    """Return the ten splits' mean figures: of the aligner, and of the reference."""
    with np.load(CLIP_COCO) as stored:
        images, texts = stored["image"], stored["text"]
    ours, theirs = [], []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(250)
        fit, test = order[:125], order[125:]
        pairs = FitPairs(images=images[fit], texts=texts[fit], image_space=SPACE, text_space=SPACE)
        options = FitOptions(dimension=60 if method == "spectral" else None)
        aligner = load_aligner(fit_artefact(method, pairs, label=LABEL, options=options))

        def aligned(rows: NDArray[np.intp], aligner: Aligner = aligner) -> Sides:
            return (
                aligner.align(images[rows], Modality.IMAGE).astype(np.float64),
                aligner.align(texts[rows], Modality.TEXT).astype(np.float64),
            )

        x, y = images.astype(np.float64), texts.astype(np.float64)
        learned = reference(method, x[fit], y[fit])
        fitted, judged = learned((x[fit], y[fit])), learned((x[test], y[test]))
        ours.append(figures(aligned(test), impostors(aligned(fit)) if merged else None))
        theirs.append(figures(judged, impostors(fitted) if merged else None))
    return tuple(np.mean(ours, axis=0)), tuple(np.mean(theirs, axis=0))


@needs(CLIP_COCO)
@pytest.mark.parametrize("method", list(STATED))
def test_aligners_reach_the_reference(method: str) -> None:
    """Every figure is the reference's within one query of 1,250, and the stated one within rounding and that query."""
    ours, theirs = measured(method, merged=False)
    print(method, np.round(ours, 2), np.round(theirs, 2))
    assert ours == pytest.approx(theirs, abs=0.081)
    assert ours == pytest.approx(STATED[method], abs=0.051 + 0.081)


@needs(CLIP_COCO)
@pytest.mark.parametrize("method", list(STATED_MERGED))
def test_the_z_merge_reaches_the_reference(method: str) -> None:
    """Standardised scores mix the modalities and leave cross-modal recall as it is."""
    ours, theirs = measured(method, merged=True)
    print(method, np.round(ours, 2), np.round(theirs, 2))
    assert ours == pytest.approx(theirs, abs=0.081)
    assert ours == pytest.approx(STATED_MERGED[method], abs=0.051 + 0.081)
    plain, _ = measured(method, merged=False)
    assert (ours[0], ours[3]) == (plain[0], plain[3])


@needs(CLIP_COCO)
def test_the_centroid_gap_of_clip() -> None:
    """.853 on the judged halves, mean of the ten splits."""
    with np.load(CLIP_COCO) as stored:
        images, texts = stored["image"], stored["text"]
    gaps = []
    for seed in range(SPLITS):
        test = np.random.default_rng(seed).permutation(250)[125:]
        gaps.append(np.linalg.norm(images[test].mean(axis=0) - texts[test].mean(axis=0)))
    assert float(np.mean(gaps)) == pytest.approx(0.853, abs=0.0006)  # .8530 measured
