"""Relative modality gap: how far a pair is apart, against how far strangers of one modality are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["RelativeGap", "relative_gap"]


@dataclass(frozen=True, kw_only=True)
class RelativeGap(MeasureResult):
    """Pair distance over pair distance plus distance inside a modality; 0 for equal pairs, 0.5 for strangers."""

    ratio: Figure
    """The relative modality gap."""
    pair_distance: float
    """Mean cosine distance of a pair."""
    own_distance: float
    """Mean cosine distance of two items of one modality."""


def relative_gap(corpus: Corpus, *, bootstrap: ClusterBootstrap, seed: int) -> RelativeGap:
    """Measure p / (p + q) with p = mean(1 - x_i.y_i), q = mean over i ≠ j of 1 - x_i.x_j and 1 - y_i.y_j.

    The relative modality gap of :cite:`schrodi:25:two`, on all pairs; q from the rows and their sum alone.

    Args:
        corpus: Balanced, of one space.
        bootstrap: Of this corpus.
        seed: Said in the result; nothing here is random but the bootstrap.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    corpus.require_one_space("relative modality gap")
    pair = 1.0 - np.einsum("nd,nd->n", corpus.images, corpus.texts, dtype=np.float64)
    own = {modality: _own_distances(corpus.vectors[modality]) for modality in Modality}
    p = max(float(pair.mean()), 0.0)
    q = max(float(np.mean([values.mean() for values in own.values()])), 0.0)
    whole = max(p + q, np.finfo(float).tiny)
    # d(p / (p + q)) = (q dp - p dq) / (p + q)²; a mean over pairs of items counts each item twice.
    influence = {modality: -p * values / whole**2 for modality, values in own.items()}
    influence[Modality.IMAGE] = influence[Modality.IMAGE] + q * pair / whole**2
    return RelativeGap(
        n=len(corpus.images),
        seed=seed,
        sampled=False,
        ratio=bootstrap.expanded(p / whole, influence, lowest=0.0),
        pair_distance=p,
        own_distance=q,
    )


def _own_distances(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each row's mean cosine distance to the other rows."""
    wide = rows.astype(np.float64)
    others = (wide @ wide.sum(axis=0) - np.square(wide).sum(axis=1)) / max(len(rows) - 1, 1)
    distances: NDArray[np.float64] = 1.0 - others
    return distances
