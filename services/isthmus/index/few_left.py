"""What a filter leaves of several segments, searched together where it is little.

One by one, each segment would choose candidates and score them again: of eight segments with a hundredth left of each
that is more work than finding them. Together it is that of one matrix product over what is left. Scores are those of
`flat`, in the way that counts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.index import flat
from isthmus.index.search_pool import side_by_side
from isthmus.index.segments import Chosen, LiveSegment

__all__ = ["FEW_ROWS", "search_few"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

FEW_ROWS: Final = 65_536
"""Rows left of all segments up to which they are searched together."""
_PIECE_ROWS: Final = 4_096
"""Rows copied side by side at once, so few that the CPU's cache holds them while all queries are served."""

_COPIED_ROWS: Final = 512
"""Rows in all that are copied first, for calls by segment would take longer than they."""

Floats: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[Floats, NDArray[np.int64], NDArray[np.int64]]
"""(n, k) scores, segments and rows, best first."""


def search_few(parts: Sequence[LiveSegment], queries: Floats, count: int, chosen: Sequence[Chosen]) -> Found:
    """Search exactly what is chosen of segments.

    Args:
        parts: The segments, at least one.
        queries: (n, d) float32.
        count: Neighbours wanted.
        chosen: By segment, which of its rows.

    Returns:
        Scores, segments and rows, best first, (n, k); k is less than `count` only where there are no more.
    """
    rows = [each.rows for each in chosen]
    numbers = np.repeat(np.arange(len(parts)), [len(each) for each in rows])
    if not len(numbers):
        none = np.empty((len(queries), 0), dtype=np.int64)
        return none.astype(np.float32), none, none
    left = _Left([part.segment.vectors for part in parts], numbers, np.concatenate(rows))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if len(numbers) <= _COPIED_ROWS:
        copied = left.copied(0, len(numbers))
        scores, places = flat.exactly(copied, queries, count)
    elif len(queries) < flat.PRODUCT_MIN_QUERIES:
        scores, places = left.one_by_one(queries, count)
    else:
        scores, places = left.by_products(queries, count, norm_max=max(part.segment.norm_max for part in parts))
    return scores, numbers[places], left.rows[places]


class _Left:
    """Rows of several arrays, numbered through.

    Args:
        vectors: The arrays, each (m, d) float32.
        numbers: (n,) which of them, ascending.
        rows: (n,) which row of it, ascending in each.
    """

    def __init__(self, vectors: Sequence[Floats], numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.rows = rows
        self._vectors = vectors
        self._numbers = numbers
        self._ends = np.searchsorted(numbers, np.arange(len(vectors) + 1))

    def one_by_one(self, queries: Floats, count: int) -> flat.Found:
        """Score all of them in the way that counts."""
        works = [
            functools.partial(self._all_of, number, queries)
            for number in range(len(self._vectors))
            if self._ends[number] < self._ends[number + 1]
        ]
        places = np.broadcast_to(np.arange(len(self.rows)), (len(queries), len(self.rows)))
        return _best(np.concatenate(side_by_side(works), axis=1), places, count)

    def _all_of(self, number: int, queries: Floats) -> Floats:
        rows = self.rows[self._ends[number] : self._ends[number + 1]]
        return flat.inner_products(queries, self._vectors[number], np.broadcast_to(rows, (len(queries), len(rows))))

    def by_products(self, queries: Floats, count: int, *, norm_max: float) -> flat.Found:
        """Choose candidates by products of matrices and score those, as `flat.nearest` does."""
        asked = flat.candidate_count(count)
        pieces = [
            functools.partial(self._product, queries, asked, start) for start in range(0, len(self.rows), _PIECE_ROWS)
        ]
        found = side_by_side(pieces)
        approximate, places = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
        approximate, places = _best(approximate, places, asked)
        # What scores lower by a product than the last one wanted, by more than both are rounded, is none of the best.
        slack = flat.rounding(queries, norm_max=norm_max)
        bound = approximate[:, min(count, approximate.shape[1]) - 1] - 2 * slack
        contenders = places[:, : (approximate >= bound[:, None]).sum(axis=1).max()]
        scores, best = _best(self._scores(queries, contenders), contenders, count)
        if approximate.shape[1] == asked:
            undecided = np.flatnonzero(approximate[:, -1] + slack >= scores[:, -1])
            if len(undecided):
                scores[undecided], best[undecided] = self.one_by_one(np.ascontiguousarray(queries[undecided]), count)
        return scores, best

    def _product(self, queries: Floats, asked: int, start: int) -> flat.Found:
        copied = self.copied(start, min(start + _PIECE_ROWS, len(self.rows)))
        scores, places = _faiss.knn(queries, copied, min(asked, len(copied)), metric=faiss.METRIC_INNER_PRODUCT)
        return scores, places + start

    def copied(self, start: int, end: int) -> Floats:
        """Return some of them side by side, (end - start, d)."""
        copied = np.empty((end - start, self._vectors[0].shape[1]), dtype=np.float32)
        for number, vectors in enumerate(self._vectors):
            first, last = max(start, self._ends[number]), min(end, self._ends[number + 1])
            if first < last:
                np.take(vectors, self.rows[first:last], axis=0, out=copied[first - start : last - start], mode="clip")
        return copied

    def _scores(self, queries: Floats, places: NDArray[np.int64]) -> Floats:
        """Return the score of row `places[i, j]` for query i."""
        numbers, rows = self._numbers[places], self.rows[places]
        scores = np.full(places.shape, -np.inf, dtype=np.float32)
        for number in np.unique(numbers).tolist():
            of_it = numbers == number
            # FAISS passes over a row that is negative, and calls its score -inf.
            some = flat.inner_products(queries, self._vectors[number], np.where(of_it, rows, -1))
            np.copyto(scores, some, where=of_it)
        return scores


def _best(scores: Floats, places: NDArray[np.int64], count: int) -> flat.Found:
    if scores.shape[1] > count:
        kept = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores, places = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(places, kept, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)
