"""Four dissimilarities side by side on the same queries: is the cosine the right one here?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure, percentile_figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["DISTANCES", "DistanceComparison", "DistanceFigures", "compare_distances"]

_TINY: Final = 1e-12
_BLOCK_ROWS: Final = 16


def _cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    distances: NDArray[np.float64] = 1.0 - (x @ y.T) / np.maximum(lengths, _TINY)
    return distances


def _euclidean(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2.0 * (x @ y.T)
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0))
    return distances


def _manhattan(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist  # noqa: PLC0415 - loaded where it is needed

    distances: NDArray[np.float64] = cdist(x, y, "cityblock")
    return distances


def _chi_square(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1/2 sum (x - y)² / (|x| + |y|): embeddings have signs, which the form for histograms cannot bear."""
    distances = np.empty((len(x), len(y)))
    y_size = np.abs(y) + _TINY
    for start in range(0, len(x), _BLOCK_ROWS):
        checkpoint()
        rows = x[start : start + _BLOCK_ROWS, None]
        terms = rows - y
        np.square(terms, out=terms)
        terms /= np.abs(rows) + y_size
        distances[start : start + _BLOCK_ROWS] = 0.5 * terms.sum(axis=2)
    return distances


DISTANCES: Final[Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]]] = {
    "cosine": _cosine,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
    "chi_square": _chi_square,
}
"""By name; each takes (n, d) and (m, d) and returns (n, m), smaller is nearer."""


@dataclass(frozen=True, kw_only=True)
class DistanceFigures:
    """What one dissimilarity gives, and how it compares with the cosine on the same queries."""

    t2i_r1: Figure
    """Text queries with their image first."""
    i2t_r1: Figure
    """Image queries with their text first."""
    t2i_mrr: Figure
    """Mean reciprocal rank of text queries."""
    i2t_mrr: Figure
    """Mean reciprocal rank of image queries."""
    mrr_over_cosine: Figure
    """Difference of the mean of both reciprocal ranks, paired by query; an interval without 0 is a difference."""


@dataclass(frozen=True, kw_only=True)
class DistanceComparison(MeasureResult):
    """All four."""

    normalized: bool
    """Whether rows were scaled to unit length first; then Euclidean distance and cosine rank alike."""
    figures: dict[str, DistanceFigures]
    """By name of the dissimilarity."""


def compare_distances(
    sample: Corpus,
    *,
    bootstrap: ClusterBootstrap,
    seed: int,
    sampled: bool,
    raw: Mapping[Modality, NDArray[np.floating[Any]]] | None = None,
) -> DistanceComparison:
    """Judge cosine, Euclidean, Manhattan and chi-square, table 1 of :cite:`xu:25:representation`, on the same queries.

    The signed chi-square is a reconstruction.

    Args:
        sample: Balanced, of one space.
        bootstrap: Of this sample: the same pairs are drawn for every dissimilarity.
        seed: Seed of the sample.
        sampled: Said in the result.
        raw: The sample's rows before they were scaled to unit length, to compare those instead.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("distances")
    chosen: Mapping[Modality, NDArray[np.floating[Any]]] = sample.vectors if raw is None else raw
    x, y = (np.asarray(chosen[modality], dtype=np.float64) for modality in Modality)
    judged = {name: _judge(distance(x, y)) for name, distance in DISTANCES.items()}
    cosine = _both(judged["cosine"])
    figures = {}
    for name, ranks in judged.items():
        gain = _both(ranks) - cosine
        figures[name] = DistanceFigures(
            t2i_r1=bootstrap.mean((ranks[Modality.TEXT] < 1).astype(np.float64), Modality.TEXT),
            i2t_r1=bootstrap.mean((ranks[Modality.IMAGE] < 1).astype(np.float64), Modality.IMAGE),
            t2i_mrr=bootstrap.mean(1.0 / (ranks[Modality.TEXT] + 1.0), Modality.TEXT),
            i2t_mrr=bootstrap.mean(1.0 / (ranks[Modality.IMAGE] + 1.0), Modality.IMAGE),
            mrr_over_cosine=percentile_figure(float(gain.mean()), bootstrap.replicate_means(gain, Modality.IMAGE)),
        )
    return DistanceComparison(n=len(sample.images), seed=seed, sampled=sampled, normalized=raw is None, figures=figures)


def _judge(distances: NDArray[np.float64]) -> dict[Modality, NDArray[np.float64]]:
    """Return both modalities' 0-based ranks of the pair: strictly nearer plus half the ties."""
    own = np.diag(distances)
    ranks = {}
    for query, axis, mark in ((Modality.IMAGE, 1, own[:, None]), (Modality.TEXT, 0, own[None, :])):
        ranks[query] = (distances < mark).sum(axis=axis) + 0.5 * ((distances == mark).sum(axis=axis) - 1)
    return ranks


def _both(ranks: Mapping[Modality, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return each pair's mean reciprocal rank over both directions."""
    both: NDArray[np.float64] = np.mean([1.0 / (ranks[query] + 1.0) for query in Modality], axis=0)
    return both
