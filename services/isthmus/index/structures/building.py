"""Train what the segments of a modality share, once, and build the structure of each from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isthmus.index.structures.base import Floats, Structure
from isthmus.index.structures.coarse import ROWS_PER_LIST, Coarse, list_count_for
from isthmus.index.structures.flat_codes import FlatCodes, trained_codes
from isthmus.index.structures.flat_float32 import FlatFloat32
from isthmus.index.structures.hnsw import LINK_BYTES, Hnsw
from isthmus.index.structures.inverted import NUMBER_BYTES, Inverted, TrainedLists, pq_bytes
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["Trained", "build", "estimated_bytes", "train", "training_rows"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What the segments of one modality share. Immutable.

    Attributes:
        kind: Of their structures.
        rows: Vectors it was trained for: when there are many times as many, it is time to train again.
        queries: Queries of the other modality it was trained on.
        nbytes: Memory of it.
        coarse: The lists; None for a kind without.
    """

    kind: Kind
    rows: int
    queries: int
    nbytes: int
    coarse: Coarse | None
    _make: Callable[[Floats], Structure]

    def build(self, vectors: Floats) -> Structure:
        """Build the structure of one segment.

        Args:
            vectors: (n, d) float32, n at least 1.
        """
        return self._make(np.ascontiguousarray(vectors, dtype=np.float32))


def train(
    kind: Kind,
    items: Floats,
    *,
    queries: Floats | None = None,
    rows: int | None = None,
    list_count: int | None = None,
    coarse: Coarse | None = None,
) -> Trained:
    """Learn what structures of a kind share.

    Args:
        kind: Of them.
        items: (n, d) float32, a sample of the vectors, n at least 1.
        queries: (m, d) float32, what queries of the other modality look like; None trains on the vectors alone.
        rows: Vectors there are; None means those of `items`.
        list_count: Lists of an IVF; None leaves it to `rows`.
        coarse: Lists that were trained already.
    """
    rows, asked = len(items) if rows is None else rows, 0 if queries is None else len(queries)
    if kind is Kind.FLAT_FLOAT32:
        return Trained(kind, rows, asked, 0, None, FlatFloat32)
    if kind is Kind.HNSW:
        return Trained(kind, rows, asked, 0, None, Hnsw.of)
    if not kind.has_lists:
        codes = trained_codes(kind, items)
        return Trained(kind, rows, asked, 0, None, lambda vectors: FlatCodes.of(kind, codes, vectors))
    if coarse is None:
        coarse = Coarse.train(items, queries, list_count=list_count, rows=rows)
    lists = TrainedLists.train(kind, coarse, items)
    return Trained(kind, rows, asked, lists.nbytes, coarse, lambda vectors: Inverted.of(lists, vectors))


def build(
    kind: Kind,
    vectors: Floats,
    *,
    training: Floats | None = None,
    queries: Floats | None = None,
    list_count: int | None = None,
) -> Structure:
    """Train and build a structure by itself.

    Args:
        kind: Of it.
        vectors: (n, d) float32, n at least 1.
        training: (m, d) float32, a sample of the vectors; None means all of them.
        queries: What queries of the other modality look like; None trains on the vectors alone.
        list_count: Lists of an IVF; None leaves it to the number of vectors.
    """
    sample = vectors if training is None else training
    return train(kind, sample, queries=queries, rows=len(vectors), list_count=list_count).build(vectors)


def estimated_bytes(kind: Kind, rows: int, dimension: int) -> int:
    """Return what the structures of so many vectors take, before anything is built; without what they share."""
    per_row = {
        Kind.FLAT_FLOAT32: 0,
        Kind.FLAT_FLOAT16: 2 * dimension,
        Kind.FLAT_SQ8: dimension,
        Kind.IVF_SQ8: dimension + NUMBER_BYTES,
        Kind.HNSW: 2 * dimension + LINK_BYTES,
        Kind.IVF_PQ: pq_bytes(dimension) + NUMBER_BYTES,
    }
    return rows * per_row[kind]


def training_rows(rows: int) -> int:
    """Return how many of so many vectors training looks at."""
    return min(rows, ROWS_PER_LIST * list_count_for(rows))
