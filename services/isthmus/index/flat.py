"""Exact search of rows in memory, with the same score to the last bit however many queries and wherever a row lies.

Equal vectors must have equal scores, for `ranking` orders those by id. A few queries go through all rows or some of
them, and add up in one way. In a product of matrices, which is the quickest for more queries, the order of adding up
depends on where a row lies. So a product chooses candidates, more than are wanted, and these are scored in the one way;
a query from which rounding could have hidden a row is asked again, all rows in that way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.index.search_pool import side_by_side

__all__ = [
    "PRODUCT_MIN_QUERIES",
    "PRODUCT_MIN_ROWS",
    "Found",
    "candidate_count",
    "exactly",
    "gathered",
    "inner_products",
    "largest_norm",
    "nearest",
    "one_by_one",
    "rounding",
    "swept",
]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

PRODUCT_MIN_QUERIES: Final = 4
"""From so many queries on a product pays."""

# FAISS's own is 128,000 queries in 1.15.
_faiss.cvar.distance_compute_blas_threshold = PRODUCT_MIN_QUERIES

PRODUCT_MIN_ROWS: Final = 65
"""Of fewer rows a product is slower for 32 queries too."""

_SPARE_MIN_COUNT: Final = 32
_SPARE_SHARE: Final = 0.25
"""Candidates beyond those wanted: at least so many, and this share."""
_GATHER_ROWS: Final = 4_096
"""Rows copied side by side at once, so few that the CPU's cache holds them while all queries are served."""
_SWEEP_ROWS: Final = 16_384
"""Rows of one piece of a product. Threads share the rows and not the queries of a batch, for a product reads every row
once, however many queries there are."""
_SWEEP_FACTOR: Final = 32
"""Rows of a piece for each neighbour wanted, so that sorting what pieces found is little work beside finding it."""

Found: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
"""(n, k) scores and rows, best first."""


def exactly(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    count: int,
    *,
    rows: NDArray[np.int64] | None = None,
    norm_max: Callable[[], float] | None = None,
) -> Found:
    """Search all rows, or some, exactly.

    Args:
        vectors: (n, d) float32, contiguous; in memory or in a file that is mapped.
        queries: (m, d) float32.
        count: Neighbours wanted.
        rows: Those to search, ascending; None means all.
        norm_max: Returns the largest norm of `vectors`, where somebody remembers it.

    Returns:
        Scores and rows, best first, (m, k); k is less than `count` only where there are no more.
    """
    available = len(vectors) if rows is None else len(rows)
    count = min(count, available)
    if not count:
        return np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)
    if len(queries) < PRODUCT_MIN_QUERIES or available < PRODUCT_MIN_ROWS:
        return one_by_one(vectors, queries, count, rows=rows)
    if rows is None:
        candidates: Callable[[NDArray[np.float32], int], Found] = functools.partial(swept, vectors)
    else:
        candidates = functools.partial(gathered, vectors, rows=rows)
    return nearest(
        np.ascontiguousarray(queries),
        vectors,
        count,
        norm_max=largest_norm(vectors) if norm_max is None else norm_max(),
        candidates=lambda asked, wanted: candidates(asked, min(wanted, len(vectors))),
        again=functools.partial(one_by_one, vectors, count=count, rows=rows),
    )


def largest_norm(vectors: NDArray[np.float32]) -> float:
    """Return the largest norm of rows."""
    return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors).max()))


def one_by_one(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    count: int,
    *,
    rows: NDArray[np.int64] | None = None,
) -> Found:
    """Score all rows, or only `rows`, in the way that counts; there are `count` of them at least."""
    # With a selector, be it all rows, FAISS adds up as `inner_products` does, and never multiplies matrices.
    selector = _faiss.IDSelectorAll() if rows is None else _faiss.IDSelectorArray(rows)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    scores, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    pointers = [_faiss.swig_ptr(array) for array in (queries, vectors, scores, found)]
    _faiss.knn_inner_product(
        *pointers[:2], vectors.shape[1], len(queries), len(vectors), count, *pointers[2:], selector
    )
    return scores, found


def swept(vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int) -> Found:
    """Search all rows by products of matrices; idle search threads help."""
    size = max(_SWEEP_ROWS, _SWEEP_FACTOR * count)
    return _by_pieces(
        [
            functools.partial(_product, vectors[start : start + size], queries, count, start)
            for start in range(0, len(vectors), size)
        ],
        count,
    )


def gathered(vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int, rows: NDArray[np.int64]) -> Found:
    """Search some rows, copied part by part, by products of matrices; idle search threads help."""

    def piece(part: NDArray[np.int64]) -> Found:
        scores, places = _product(vectors[part], queries, count, 0)
        return scores, part[places]

    return _by_pieces(
        [functools.partial(piece, rows[start : start + _GATHER_ROWS]) for start in range(0, len(rows), _GATHER_ROWS)],
        count,
    )


def _product(vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int, first: int) -> Found:
    scores, places = _faiss.knn(queries, vectors, min(count, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    return scores, places + first


def _by_pieces(pieces: list[Callable[[], Found]], count: int) -> Found:
    scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*side_by_side(pieces), strict=True))
    return _best(scores, rows, count)


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    count: int,
    *,
    norm_max: float,
    candidates: Callable[[NDArray[np.float32], int], Found],
    again: Callable[[NDArray[np.float32]], Found],
) -> Found:
    """Search by a product of matrices.

    Args:
        queries: (n, d) float32, contiguous.
        vectors: (rows, d) float32, contiguous, that rows are numbered in.
        count: Neighbours wanted; there are so many.
        norm_max: Largest norm of `vectors`.
        candidates: Returns the best rows of queries by a product; fewer than asked for only where no more are.
        again: Returns `count` neighbours of queries as `one_by_one` does.
    """
    asked = candidate_count(count)
    approximate, rows = candidates(queries, asked)
    scores, best = _best(inner_products(queries, vectors, rows), rows, count)
    if approximate.shape[1] == asked:
        undecided = np.flatnonzero(approximate[:, -1] + rounding(queries, norm_max=norm_max) >= scores[:, -1])
        if len(undecided):
            scores[undecided], best[undecided] = again(np.ascontiguousarray(queries[undecided]))
    return scores, best


def candidate_count(count: int) -> int:
    """Return how many candidates a product chooses where `count` neighbours are wanted."""
    return count + max(_SPARE_MIN_COUNT, round(_SPARE_SHARE * count))


def rounding(queries: NDArray[np.float32], *, norm_max: float) -> NDArray[np.float64]:
    """Return how far apart the two ways to score may be at most, (n,).

    Args:
        queries: (n, d) float32.
        norm_max: Largest norm of the rows that are searched.
    """
    # Two ways to add up d products, each off by at most d roundings, of half an eps each, of |query| |row|.
    norms: NDArray[np.float64] = np.linalg.norm(queries, axis=1).astype(np.float64)
    norms *= queries.shape[1] * float(np.finfo(np.float32).eps) * norm_max
    return norms


def inner_products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the score of `rows[i, j]` for query i, (n, k), in the way that counts."""
    scores = np.empty(rows.shape, dtype=np.float32)
    rows = np.ascontiguousarray(rows)
    pointers = (_faiss.swig_ptr(array) for array in (scores, queries, vectors, rows))
    _faiss.fvec_inner_products_by_idx(*pointers, queries.shape[1], *rows.shape)
    return scores


def _best(scores: NDArray[np.float32], rows: NDArray[np.int64], count: int) -> Found:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
