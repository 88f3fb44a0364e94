"""Centroid gap: how far apart the two means are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus, halves
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["CentroidGap", "centroid_gap"]


@dataclass(frozen=True, kw_only=True)
class CentroidGap(MeasureResult):
    """Distance of the means; 0 without a gap, at most 2."""

    distance: Figure
    """||mean(X) - mean(Y)||."""
    image_mean_norm: float
    """||mean(X)||: 0 for a cloud around the origin, near 1 for a narrow cone."""
    text_mean_norm: float
    """||mean(Y)||."""


def centroid_gap(corpus: Corpus, *, bootstrap: ClusterBootstrap, seed: int) -> CentroidGap:
    """Measure Delta = mean(X) - mean(Y), section 3 of :cite:`liang:22:gap`, on all pairs.

    Args:
        corpus: Balanced, of one space.
        bootstrap: Of this corpus.
        seed: Seed of the halves behind the noise floor.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    corpus.require_one_space("centroid gap")
    means = {modality: _mean(corpus.vectors[modality]) for modality in Modality}
    delta = means[Modality.IMAGE] - means[Modality.TEXT]
    distance = float(np.linalg.norm(delta))
    direction = delta / max(distance, np.finfo(float).tiny)
    floor = max(
        float(np.linalg.norm(_mean(one) - _mean(other)))
        for one, other in (halves(corpus.vectors[modality], seed=seed) for modality in Modality)
    )
    return CentroidGap(
        n=len(corpus.images),
        seed=seed,
        sampled=False,
        distance=bootstrap.expanded(
            distance,
            {Modality.IMAGE: corpus.images @ direction, Modality.TEXT: -(corpus.texts @ direction)},
            noise_floor=floor,
            lowest=0.0,
        ),
        image_mean_norm=float(np.linalg.norm(means[Modality.IMAGE])),
        text_mean_norm=float(np.linalg.norm(means[Modality.TEXT])),
    )


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = rows.mean(axis=0, dtype=np.float64)
    return mean
