"""Paired cosine: how similar the two sides of a pair are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["PairedCosine", "paired_cosine"]


@dataclass(frozen=True, kw_only=True)
class PairedCosine(MeasureResult):
    """Cosine of image and text of a pair; in a space with a gap low even for perfect pairs."""

    cosine: Figure
    """Mean over pairs; the floor is the mean over strangers."""
    standard_deviation: float
    """Of the pairs' cosines."""


def paired_cosine(corpus: Corpus, *, bootstrap: ClusterBootstrap, seed: int) -> PairedCosine:
    """Measure the mean of x_i.y_i over all pairs, and of x_i.y_j over i ≠ j as its floor.

    Args:
        corpus: Balanced, of one space.
        bootstrap: Of this corpus.
        seed: Said in the result; nothing here is random but the bootstrap.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    corpus.require_one_space("paired cosine")
    images, texts = corpus.images, corpus.texts
    cosines = np.einsum("nd,nd->n", images, texts, dtype=np.float64)
    count = len(cosines)
    everybody = float(images.sum(axis=0, dtype=np.float64) @ texts.sum(axis=0, dtype=np.float64))
    return PairedCosine(
        n=count,
        seed=seed,
        sampled=False,
        cosine=bootstrap.mean(
            cosines, Modality.IMAGE, noise_floor=(everybody - float(cosines.sum())) / (count * (count - 1))
        ),
        standard_deviation=float(cosines.std()),
    )
