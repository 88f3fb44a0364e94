"""All vectors as they are: exact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isthmus.index import flat
from isthmus.index.structures.base import Effort, Floats, Structure
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["FlatFloat32"]


class FlatFloat32(Structure):
    """A view of vectors that lie elsewhere.

    Args:
        vectors: (n, d) float32, contiguous.
    """

    kind = Kind.FLAT_FLOAT32

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        self.rows = len(vectors)

    @property
    def nbytes(self) -> int:
        """Nothing beside the vectors themselves."""
        return 0

    def candidates(
        self,
        queries: Floats,
        count: int,
        *,
        probes: int,  # noqa: ARG002 - as of every structure
        allowed: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Return the best rows; `probes` means nothing here."""
        rows = None if allowed is None else np.flatnonzero(allowed)
        return flat.exactly(self._vectors, queries, count, rows=rows)[1]

    def filtered_work(self, probes: int, share: float) -> float:  # noqa: ARG002
        """Scoring vectors alone is all that it does."""
        return share * self.rows

    def efforts(self) -> Iterator[Effort]:
        """Yield the only one."""
        yield Effort()
