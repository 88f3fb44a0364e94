"""A graph of neighbours, quick to ask and slow to build (Malkov and Yashunin 2018, navigable small worlds)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.index.structures.base import Effort, Floats, Structure, raised, selector_of
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["LINK_BYTES", "Hnsw"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

_LINKS: Final = 24
"""M: of a vector on each level; twice as many on the lowest."""
_BUILD_EF: Final = 80
_EF_MIN: Final = 64
_EF_MAX: Final = 1_024
_STEP_WORK: Final = 6.0
"""Vectors scored alone, one after the other as they lie, that take as long as one met on a walk: measured."""
_ADD_ROWS: Final = 512
LINK_BYTES: Final = 4 * (2 * _LINKS + _LINKS // 8) + 16
"""Of a vector, about: its links, its level, where they begin."""


class Hnsw(Structure):
    """A graph over vectors rounded to two bytes a component.

    Attributes:
        index: The graph as FAISS holds it.

    Args:
        index: The graph.
    """

    kind = Kind.HNSW
    needs_probes_of_depth = True

    def __init__(self, index: Any) -> None:
        self.rows = int(index.ntotal)
        self.index = index

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        """Build a graph over vectors, (n, d) float32."""
        index = _faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_EF
        index.train(vectors)
        for start in range(0, len(vectors), _ADD_ROWS):
            checkpoint()
            index.add(vectors[start : start + _ADD_ROWS])
        return cls(index)

    @property
    def nbytes(self) -> int:
        """Its codes and its links."""
        graph = self.index.hnsw
        links = 4 * (graph.neighbors.size() + graph.levels.size()) + 8 * graph.offsets.size()
        return int(2 * self.index.d * self.rows + links)

    def candidates(
        self, queries: Floats, count: int, *, probes: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return the best rows of a walk that keeps `probes` candidates, at most as many."""
        selector = None if allowed is None else selector_of(allowed)
        params = _faiss.SearchParametersHNSW(sel=selector, efSearch=min(max(probes, 1), self.rows))
        rows: NDArray[np.int64] = self.index.search(queries, min(count, max(probes, 1), self.rows), params=params)[1]
        return rows

    def filtered_work(self, probes: int, share: float) -> float:  # noqa: ARG002
        """All neighbours of those that a walk keeps: a selector spares it none."""
        return _STEP_WORK * probes * _LINKS

    def efforts(self) -> Iterator[Effort]:
        """Yield walks of more and more candidates."""
        for probes in raised(_EF_MAX, first=_EF_MIN):
            yield Effort(probes=probes)
