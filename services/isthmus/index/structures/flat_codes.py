"""All vectors, rounded to two bytes or to one byte a component: memory is what they save.

One query is compared with codes as they are read. For several, codes are turned back into vectors piece by piece, and a
product of matrices compares them, which is ten times as quick for 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.index import flat
from isthmus.index.structures.base import Effort, Floats, Structure, selector_of
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["FlatCodes", "trained_codes"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

_TYPES: Final = {Kind.FLAT_FLOAT16: faiss.ScalarQuantizer.QT_fp16, Kind.FLAT_SQ8: faiss.ScalarQuantizer.QT_8bit}
_PIECE_ROWS: Final = 4_096
"""Codes turned back at once: 8 MiB at 512 components, which a CPU's cache holds."""


def trained_codes(kind: Kind, rows: Floats) -> Any:
    """Return an empty index that knows how to round.

    Args:
        kind: FLAT_FLOAT16 or FLAT_SQ8.
        rows: (n, d) float32, whose range of each component is the one that a byte covers.
    """
    index = _faiss.IndexScalarQuantizer(rows.shape[1], _TYPES[kind], faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(rows))
    return index


class FlatCodes(Structure):
    """Codes of vectors.

    Attributes:
        index: As FAISS holds them.

    Args:
        kind: FLAT_FLOAT16 or FLAT_SQ8.
        index: Holds the codes.
    """

    def __init__(self, kind: Kind, index: Any) -> None:
        self.kind = kind
        self.rows = int(index.ntotal)
        self.index = index
        self._codes = _faiss.rev_swig_ptr(index.codes.data(), index.codes.size()).reshape(self.rows, index.code_size)

    @classmethod
    def of(cls, kind: Kind, trained: Any, vectors: Floats) -> Self:
        """Round vectors.

        Args:
            kind: FLAT_FLOAT16 or FLAT_SQ8.
            trained: From `trained_codes`.
            vectors: (n, d) float32.
        """
        index = _faiss.clone_index(trained)
        index.add(vectors)
        return cls(kind, index)

    @property
    def nbytes(self) -> int:
        """Its codes."""
        return int(self._codes.nbytes)

    def candidates(
        self,
        queries: Floats,
        count: int,
        *,
        probes: int,  # noqa: ARG002 - as of every structure
        allowed: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Return the rows that seem best; `probes` means nothing here."""
        count = min(count, self.rows)
        if len(queries) >= flat.PRODUCT_MIN_QUERIES:
            return self._by_products(queries, count, None if allowed is None else np.flatnonzero(allowed))
        params = None if allowed is None else _faiss.SearchParameters(sel=selector_of(allowed))
        rows: NDArray[np.int64] = self.index.search(queries, count, params=params)[1]
        return rows

    def _by_products(self, queries: Floats, count: int, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        total = self.rows if rows is None else len(rows)
        scores, found = (np.empty((len(queries), 0), dtype) for dtype in (np.float32, np.int64))
        for start in range(0, total, _PIECE_ROWS):
            piece = np.arange(start, min(start + _PIECE_ROWS, total)) if rows is None else rows[start:][:_PIECE_ROWS]
            vectors = self.index.sa_decode(
                self._codes[piece] if rows is not None else self._codes[piece[0] :][: len(piece)]
            )
            best, places = _faiss.knn(queries, vectors, min(count, len(piece)), metric=faiss.METRIC_INNER_PRODUCT)
            scores, found = np.hstack([scores, best]), np.hstack([found, piece[places]])
            if scores.shape[1] > count:
                kept = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores, found = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(found, kept, axis=1)
        return found

    def filtered_work(self, probes: int, share: float) -> float:  # noqa: ARG002
        """As much as scoring vectors alone where half of the rows are left; the fewer, the more."""
        return 0.5 * self.rows

    def efforts(self) -> Iterator[Effort]:
        """Yield the shortlists."""
        for factor in (1, 4):
            yield Effort(shortlist=factor * Effort().shortlist)
