"""The kinds of structures that a segment may be searched by."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Kind"]


class Kind(StrEnum):
    """How the vectors of a segment are searched."""

    FLAT_FLOAT32 = "flat_float32"
    """Every vector, exactly."""
    FLAT_FLOAT16 = "flat_float16"
    """Every vector, rounded to 2 bytes a component."""
    FLAT_SQ8 = "flat_sq8"
    """Every vector, rounded to a byte a component."""
    IVF_SQ8 = "ivf_sq8"
    """The vectors of some lists, rounded to a byte a component."""
    HNSW = "hnsw"
    """Those met on a walk through a graph of neighbours, rounded to 2 bytes a component."""
    IVF_PQ = "ivf_pq"
    """The vectors of some lists, each a byte for eight components."""

    @property
    def has_lists(self) -> bool:
        """Whether vectors lie in lists, of which a query looks into some."""
        return self in {Kind.IVF_SQ8, Kind.IVF_PQ}
