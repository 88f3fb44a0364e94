"""Vectors of two modalities with a gap between them, as of real encoders: made, so that a test can know them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TwoLands", "two_lands"]

DIMENSION = 48
_LATENT = 24
_CLUSTERS = 60
_GAP = 3.0
_UNSEEN = 3
"""One in so many directions is seen by images and hardly by texts."""


@dataclass(frozen=True)
class TwoLands:
    """Unit vectors, (n, 48) float32 each.

    Attributes:
        images: What is searched.
        texts: A sample of what the other modality asks; of other things than `questions`.
        questions: Texts of some of the images.
        looks: Images that resemble some of them, asked within the modality.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    questions: NDArray[np.float32]
    looks: NDArray[np.float32]


def two_lands(*, images: int = 6_000, texts: int = 3_000, questions: int = 200, seed: int = 0) -> TwoLands:
    """Return two modalities of common meaning whose means are about 0.8 apart."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((DIMENSION, _LATENT)))[0].T
    seen = np.linspace(1.0, 0.15, _LATENT) ** 1.5
    told = seen.copy()
    told[rng.permutation(_LATENT)[: _LATENT // _UNSEEN]] *= 0.15
    means = np.linalg.qr(rng.standard_normal((DIMENSION, 2)))[0].T * _GAP
    centers = rng.standard_normal((_CLUSTERS, _LATENT))

    def meanings(count: int) -> NDArray[np.float64]:
        return centers[rng.integers(0, _CLUSTERS, count)] + 0.7 * rng.standard_normal((count, _LATENT))

    def vectors(meaning: NDArray[np.float64], weights: NDArray[np.float64], land: int) -> NDArray[np.float32]:
        rows = means[land] + (meaning * weights) @ axes + 0.12 * rng.standard_normal((len(meaning), DIMENSION))
        units: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return units

    of_images = meanings(images)
    asked = of_images[rng.permutation(images)[:questions]]
    return TwoLands(
        images=vectors(of_images, seen, 0),
        texts=vectors(meanings(texts), told, 1),
        questions=vectors(asked, told, 1),
        looks=vectors(asked, seen, 0),
    )
