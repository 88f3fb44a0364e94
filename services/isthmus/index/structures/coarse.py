"""Lists that vectors are put into, and which of them a query looks into.

Where two modalities lie apart, queries of the other modality are not distributed as the vectors are. Lists of centroids
of both modalities together would be empty for the half that are nearest to such queries. So k-means places the lists
among the vectors alone, and queries of both modalities teach which lists hold their neighbours: each list has a second
vector, its route, and a query looks into the lists whose routes have the largest inner product with it. Routes begin at
the centroids and are fitted by the cross-entropy between the softmax of these products and the lists that hold a
query's true neighbours (Vecchiato, Lucchese, Nardini and Bruch 2024, "A Learning-to-Rank Formulation of
Clustering-Based Approximate Nearest Neighbor Search"; that its queries are of two modalities is ours).
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.index.structures.base import Floats

__all__ = ["ROWS_PER_LIST", "Coarse", "list_count_for"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

ROWS_PER_LIST: Final = 64
"""Vectors that k-means looks at for each list, at most."""
_ROWS_PER_LIST_MIN: Final = 16
_LISTS_MIN: Final = 4
_LISTS_MAX: Final = 4_096
_KMEANS_ROUNDS: Final = 10
_SEED: Final = 0

_ROUTE_QUERIES: Final = 12_288
"""Queries that routes are fitted to, at most, two of the other modality for one of the vectors' own."""
_ROUTE_ROWS: Final = 131_072
"""Vectors among which their neighbours are looked for. Of 1,000,000 in 2,048 lists 32,768 are too few: their nearest
lie in lists that hold no true neighbour, and recall is less than with centroids (0.923 and 0.937 at 16 lists)."""
_ROUTE_NEIGHBOURS: Final = 10
_ROUTE_EPOCHS: Final = 8
_ROUTE_BATCH: Final = 256
_ROUTE_STEP: Final = 0.005
"""Of Adam, in units of the mean absolute component of a centroid. Longer ones fit the queries at hand and not others:
at 16 of 2,048 lists recall is 0.933, 0.944 and 0.949 with 0.03, 0.01 and 0.003, and 0.933 with centroids; at 8 of 512
lists 0.902, 0.908 and 0.903, and 0.883."""
_ROUTE_SHARPNESS: Final = 3.0
"""Standard deviation of a query's products with all routes, once scaled."""


def list_count_for(rows: int) -> int:
    """Return how many lists serve so many vectors: twice their root, a power of two."""
    wanted: int = 2 ** round(math.log2(max(1.0, 2.0 * math.sqrt(rows))))
    return max(1, min(wanted, _LISTS_MAX, max(_LISTS_MIN, rows // _ROWS_PER_LIST_MIN), rows))


@dataclass(frozen=True, slots=True)
class Coarse:
    """Lists, without what is in them. Immutable; shared by all segments of a modality.

    Attributes:
        centroids: (lists, d) float32; a vector is put into the list whose centroid is nearest.
        routes: (lists, d) float32.
    """

    centroids: Floats
    routes: Floats
    _last: threading.local = field(default_factory=threading.local, compare=False, repr=False)

    @classmethod
    def train(
        cls,
        items: Floats,
        queries: Floats | None = None,
        *,
        list_count: int | None = None,
        rows: int | None = None,
    ) -> Self:
        """Place lists among vectors and learn routes to them.

        Args:
            items: (n, d) float32, a sample of the vectors, n at least 1.
            queries: (m, d) float32, what queries of the other modality look like; None where there are none, and then
                routes are the centroids.
            list_count: Lists; None leaves it to the number of vectors.
            rows: Vectors there are; None means those of `items`.
        """
        count = min(list_count or list_count_for(rows or len(items)), len(items))
        centroids = _k_means(items, count)
        coarse = cls(centroids, centroids)
        return coarse if queries is None or not len(queries) else cls(centroids, _fit_routes(coarse, items, queries))

    @property
    def count(self) -> int:
        """How many lists."""
        return len(self.centroids)

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return self.centroids.nbytes + (0 if self.routes is self.centroids else self.routes.nbytes)

    def assign(self, rows: Floats) -> NDArray[np.int64]:
        """Return the list of each row, (n,)."""
        lists: NDArray[np.int64] = _faiss.knn(np.ascontiguousarray(rows), self.centroids, 1)[1][:, 0]
        return lists

    def probe(self, queries: Floats, count: int) -> NDArray[np.int64]:
        """Return the lists that queries look into, (n, count), best first.

        Segments of a modality are asked one after the other with the same array: a thread remembers its last answer.
        """
        last = getattr(self._last, "value", None)
        if last is not None and last[0] is queries and last[1] == count:
            lists: NDArray[np.int64] = last[2]
            return lists
        lists = _faiss.knn(queries, self.routes, count, metric=faiss.METRIC_INNER_PRODUCT)[1]
        self._last.value = (queries, count, lists)
        return lists


def _k_means(items: Floats, count: int) -> Floats:
    """Return centroids, (count, d); it can be given up between rounds."""
    rng = np.random.default_rng(_SEED)
    items = np.ascontiguousarray(items[rng.permutation(len(items))[: count * ROWS_PER_LIST]], dtype=np.float32)
    centroids: Floats | None = None
    for _ in range(_KMEANS_ROUNDS):
        checkpoint()
        clustering = _faiss.Kmeans(
            items.shape[1], count, niter=1, seed=_SEED, min_points_per_centroid=1, max_points_per_centroid=len(items)
        )
        clustering.train(items, init_centroids=centroids)
        centroids = clustering.centroids.copy()
    assert centroids is not None
    return centroids


def _fit_routes(coarse: Coarse, items: Floats, queries: Floats) -> Floats:
    rng = np.random.default_rng(_SEED)
    if len(items) > _ROUTE_ROWS:
        items = items[rng.permutation(len(items))[:_ROUTE_ROWS]]
    lists_of = coarse.assign(items)
    other = queries[rng.permutation(len(queries))[: 2 * _ROUTE_QUERIES // 3]]
    own_rows = rng.permutation(len(items))[: max(len(other) // 2, 1)]
    own = np.ascontiguousarray(items[own_rows])
    count = min(_ROUTE_NEIGHBOURS, len(items) - 1)
    if count < 1:
        return coarse.centroids
    # What is asked with an item finds that first, which says nothing of the others.
    items = np.ascontiguousarray(items, dtype=np.float32)
    _, own_best = _faiss.knn(own, items, count + 1, metric=faiss.METRIC_INNER_PRODUCT)
    own_best = np.where(own_best[:, :count] == own_rows[:, None], own_best[:, count:], own_best[:, :count])
    _, other_best = _faiss.knn(np.ascontiguousarray(other), items, count, metric=faiss.METRIC_INNER_PRODUCT)
    asked = np.concatenate([own, other])
    return _descend(coarse.centroids, asked, lists_of[np.concatenate([own_best, other_best])], rng)


def _descend(centroids: Floats, queries: Floats, lists: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Fit routes by Adam.

    Args:
        centroids: (l, d) where they begin.
        queries: (n, d).
        lists: (n, k) which lists their neighbours are in.
        rng: Orders the queries.
    """
    routes = centroids.copy()
    spread = float(np.std(queries[:_ROUTE_BATCH] @ routes.T - (queries[:_ROUTE_BATCH] @ routes.T).mean(1)[:, None]))
    if spread <= 0.0:
        return centroids
    scale, step = np.float32(_ROUTE_SHARPNESS / spread), _ROUTE_STEP * float(np.abs(centroids).mean())
    momentum, power, number = np.zeros_like(routes), np.zeros_like(routes), 0
    for epoch in range(_ROUTE_EPOCHS):
        for batch in np.array_split(rng.permutation(len(queries)), math.ceil(len(queries) / _ROUTE_BATCH)):
            checkpoint()
            number += 1
            rows = queries[batch]
            logits = scale * (rows @ routes.T)
            logits -= logits.max(axis=1, keepdims=True)
            error = np.exp(logits, out=logits)
            error /= error.sum(axis=1, keepdims=True)
            np.subtract.at(error, (np.arange(len(batch))[:, None], lists[batch]), np.float32(1 / lists.shape[1]))
            slope = error.T @ rows / np.float32(len(batch))
            momentum += 0.1 * (slope - momentum)
            power += 0.01 * (slope * slope - power)
            rate = step * (1 - epoch / _ROUTE_EPOCHS) / (1 - 0.9**number)
            routes -= np.float32(rate) * momentum / (np.sqrt(power / np.float32(1 - 0.99**number)) + np.float32(1e-9))
    return routes
