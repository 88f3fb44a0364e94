"""Both clouds on one plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap import Corpus

__all__ = ["POINT_PAIRS_MAX", "Projection", "project"]

POINT_PAIRS_MAX: Final = 300
"""Pairs that are drawn: more points hide one another."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Images and texts seen from the side that shows most of their spread."""

    images: NDArray[np.float64] = field(repr=False)
    """(n, 2), in units of the embedding space, around the common mean."""
    texts: NDArray[np.float64] = field(repr=False)
    """(n, 2); row i pairs with row i of the images."""
    shown_share: float
    """Share of the spread of both clouds that the plane shows, in [0, 1]."""
    pair_count: int
    """Pairs that the plane was fitted to."""


def project(corpus: Corpus, *, seed: int) -> Projection:
    """Turn images and texts, taken together, so that the plane of most variance shows (principal components).

    Args:
        corpus: Of one space.
        seed: Of the pairs, at most 300, that are drawn; the plane itself is fitted to at most 2,000.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    corpus.require_one_space("projection")
    fitted, drawn = corpus.sample(seed=seed), corpus.sample(seed=seed, limit=POINT_PAIRS_MAX)
    both = np.concatenate([fitted.images, fitted.texts]).astype(np.float64)
    mean = both.mean(axis=0)
    both -= mean
    values, vectors = np.linalg.eigh(both.T @ both)
    plane = vectors[:, :-3:-1]
    if plane.shape[1] == 1:  # one dimension has no second axis
        plane = np.concatenate([plane, np.zeros_like(plane)], axis=1)
    # A turned axis shows the same thing: images go to the left and point up, whatever the solver's signs.
    means = (drawn.images.mean(axis=0, dtype=np.float64) - mean) @ plane
    plane = plane * np.where(means * np.array([1.0, -1.0]) > 0.0, -1.0, 1.0)
    return Projection(
        images=(drawn.images - mean) @ plane,
        texts=(drawn.texts - mean) @ plane,
        shown_share=float(values[-2:].sum() / max(values.sum(), np.finfo(float).tiny)),
        pair_count=len(fitted.images),
    )
