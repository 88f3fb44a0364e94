"""Neighbour overlap: do both modalities see the same neighbourhood around a pair?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import ShapeError
from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import NEIGHBOR_COUNT, CosineScan, own_neighbors
from isthmus.core.modality import Modality

__all__ = ["NeighborOverlap", "StructureKept", "neighbor_overlap", "shared_neighbors", "structure_kept"]


@dataclass(frozen=True, kw_only=True)
class NeighborOverlap(MeasureResult):
    """Share of neighbours that both modalities agree on; needs no common space."""

    overlap: Figure
    """Mean share of the k nearest images whose texts are among the k nearest texts; the floor is chance."""
    k: int
    """Neighbours that are compared."""


@dataclass(frozen=True, kw_only=True)
class StructureKept(MeasureResult):
    """What a map leaves of a modality's own neighbourhoods; 1 for a rotation."""

    kept: Figure
    """Mean share of the k nearest neighbours before that are among the k nearest after. The floor is chance."""
    k: int
    """Neighbours that are compared."""
    modality: Modality
    """Whose neighbourhoods."""


def neighbor_overlap(
    corpus: Corpus,
    *,
    bootstrap: ClusterBootstrap,
    seed: int,
    k: int = NEIGHBOR_COUNT,
    scan: CosineScan | None = None,
) -> NeighborOverlap:
    """Measure the neighbour overlap at k (NAS@k) on all pairs.

    Args:
        corpus: Balanced; the spaces may differ.
        bootstrap: Of this corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
        k: Neighbours to compare; with a scan at most 10.
        scan: Of this corpus, where there is one already: the neighbours are taken from it.
    """
    if scan is None:
        images, texts = (own_neighbors(corpus.vectors[modality], k=k) for modality in Modality)
    else:
        images, texts = (scan.sides[modality].own_neighbors[:, :k] for modality in Modality)
    return NeighborOverlap(
        n=len(images),
        seed=seed,
        sampled=False,
        overlap=bootstrap.mean(
            shared_neighbors(images, texts), Modality.IMAGE, noise_floor=images.shape[1] / (len(images) - 1)
        ),
        k=images.shape[1],
    )


def structure_kept(
    corpus: Corpus,
    mapped: NDArray[np.float32],
    *,
    modality: Modality,
    bootstrap: ClusterBootstrap,
    seed: int,
    k: int = NEIGHBOR_COUNT,
) -> StructureKept:
    """Compare a modality's own neighbourhoods before and after a map.

    Args:
        corpus: What went in.
        mapped: (n, e) float32, rows unit-norm: what an aligner made of `corpus.vectors[modality]`.
        modality: Whose neighbourhoods.
        bootstrap: Of this corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
        k: Neighbours to compare.

    Raises:
        ShapeError: There is not one mapped row for each item.
    """
    before = corpus.vectors[modality]
    if mapped.ndim != 2 or len(mapped) != len(before):  # noqa: PLR2004
        msg = f"mapped: need one row for each of {len(before)} {modality}s, got {len(mapped)}"
        raise ShapeError(msg)
    shared = shared_neighbors(own_neighbors(before, k=k), own_neighbors(mapped, k=k))
    k = min(k, len(before) - 1)
    return StructureKept(
        n=len(before),
        seed=seed,
        sampled=False,
        kept=bootstrap.mean(shared, modality, noise_floor=k / (len(before) - 1)),
        k=k,
        modality=modality,
    )


def shared_neighbors(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (n,) share of each row of `one` (n, k) that is in the same row of `other` (n, k)."""
    width = 1 + max(int(one.max()), int(other.max()))
    row = np.arange(len(one))[:, None] * width
    shared: NDArray[np.float64] = np.isin(row + one, row + other).mean(axis=1)
    return shared
