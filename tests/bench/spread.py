"""How rows lie in their space: what makes exact search hard or easy, whatever the number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["Margin", "Spread", "margin", "nearest", "spread"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Rows = NDArray[np.float32]

_PLACES: Final = 2_000
"""Rows that an intrinsic dimension is estimated at."""
_MLE_NEIGHBORS: Final = 10
"""Fewer than the crops of a photo: beyond, another photo begins, which lies much farther."""
_TRIMMED_SHARE: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Intrinsic dimension of rows, by two estimators."""

    two_nn: float
    """TwoNN (Facco et al. 2017): of the ratio of the distances to the second and the first neighbour."""
    mle: float
    """Maximum likelihood (Levina and Bickel 2004) of 10 neighbours, joined as by MacKay and Ghahramani (2005)."""


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Mean score of the answers at ranks 1, 10 and 100 by exact search."""

    first: float
    tenth: float
    hundredth: float

    def __str__(self) -> str:
        return f"{self.first:.3f}, {self.first - self.tenth:.3f} to rank 10, {self.first - self.hundredth:.3f} to 100"


def nearest(queries: Rows, rows: Rows, count: int) -> tuple[Rows, NDArray[np.int64]]:
    """Return the best scores and rows of each query by exact search, (q, count)."""
    scores, found = _faiss.knn(queries, rows, count, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, found


def spread(rows: Rows, *, seed: int = 0) -> Spread:
    """Estimate the intrinsic dimension.

    TwoNN: with mu = r_2 / r_1 at N places and F(mu) their empirical distribution, -log(1 - F(mu)) against log(mu) is a
    line through the origin of slope d; the largest tenth is left out, as in the paper. MLE: at each place the mean of
    log(T_k / T_j) over its k - 1 nearest is 1/d; these are averaged over places.

    Args:
        rows: (n, d) unit norm, n more than 10; rows equal to another are passed over.
        seed: Of the places.
    """
    places = np.random.default_rng(seed).choice(len(rows), min(_PLACES, len(rows)), replace=False)
    _, found = nearest(rows[places], rows, _MLE_NEIGHBORS + 1)
    # Distances of near rows, worked out from their differences: 2 - 2 cos loses them to rounding.
    apart = np.linalg.norm(rows[found[:, 1:]] - rows[places][:, None], axis=2).astype(np.float64)
    apart = apart[apart[:, 0] > 1e-4]
    mu = np.sort(apart[:, 1] / apart[:, 0])
    kept = slice(0, round(len(mu) * (1 - _TRIMMED_SHARE)))
    logs, rises = np.log(mu)[kept], -np.log1p(-np.arange(1, len(mu) + 1) / (len(mu) + 1))[kept]
    inverse = np.log(apart[:, -1:] / apart[:, :-1]).mean()
    return Spread(two_nn=float(logs @ rises / (logs @ logs)), mle=float(1 / inverse))


def margin(scores: Rows) -> Margin:
    """Return the margin of exact answers.

    Args:
        scores: (q, at least 100) of answers, best first.
    """
    means = scores.mean(axis=0)
    return Margin(first=float(means[0]), tenth=float(means[9]), hundredth=float(means[99]))
