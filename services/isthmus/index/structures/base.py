"""What every structure can do: name candidates. Their scores are rounded; who asks scores them again, exactly."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["SHORTLIST_MIN_COUNT", "Effort", "Floats", "Structure", "raised", "selector_of"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Floats: TypeAlias = NDArray[np.float32]

SHORTLIST_MIN_COUNT: Final = 128
"""Candidates that are scored exactly for each query, at least: twice what one depth of answers may ask for."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a structure is searched; more finds more.

    Attributes:
        probes: Lists that are looked into, or candidates that a walk keeps (efSearch); 0 where there is neither.
        shortlist: Candidates that are scored exactly.
    """

    probes: int = 0
    shortlist: int = SHORTLIST_MIN_COUNT


class Structure(abc.ABC):
    """The vectors of one segment, arranged to be searched. Immutable once it is built.

    Attributes:
        kind: Of it.
        rows: Vectors in it.
    """

    kind: Kind
    rows: int
    needs_probes_of_depth = False
    """Whether `probes` bounds how many rows are returned."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """Memory it takes, without what it shares with others."""

    @abc.abstractmethod
    def candidates(
        self, queries: Floats, count: int, *, probes: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return the rows that seem best.

        Args:
            queries: (n, d) float32, contiguous.
            count: Rows wanted.
            probes: As of `Effort`.
            allowed: (rows,) which rows may be returned; None means all.

        Returns:
            (n, k) rows, k at most `count`; -1 where there is none. In no promised order.
        """

    @abc.abstractmethod
    def filtered_work(self, probes: int, share: float) -> float:
        """Return about what a query through a selector costs, in vectors that are scored alone.

        Args:
            probes: As of `Effort`, already enlarged for the share.
            share: Of the rows, that the selector lets through, above 0 and below 1.
        """

    @abc.abstractmethod
    def efforts(self) -> Iterator[Effort]:
        """Yield efforts worth trying, the least first."""


def selector_of(allowed: NDArray[np.bool_]) -> Any:
    """Return what FAISS asks whether a row may be returned."""
    return _faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def raised(limit: int, *, first: int = 1) -> Iterator[int]:
    """Yield first, 1.5 first, 2 first, 3 first, 4 first ... up to `limit`, and `limit` itself."""
    number = first
    while number < limit:
        yield number
        if number + number // 2 < limit and number > 1:
            yield number + number // 2
        number *= 2
    yield limit
