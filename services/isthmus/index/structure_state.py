"""What a searcher tells of the structures of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["StructureReport", "StructureState"]


class StructureState(StrEnum):
    """What became of the structures of one modality."""

    EXACT = "exact"
    """All vectors are searched; there are few, or the collection wants it so."""
    READY = "ready"
    """Large segments have their structures, others are searched exactly."""
    OVER_BUDGET = "over_budget"
    """They do not fit the memory that they may take; what was there before is searched."""
    FAILED = "failed"
    """They could not be built; what was there before is searched, and it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureReport:
    """The structures of one modality.

    Attributes:
        state: What became of them.
        kind: Theirs, or the one that did not fit.
        recall: Measured recall@10 on queries of the other modality, a fraction; None where nothing was measured.
        is_cross_modal: Whether it was measured so; on the modality's own items where there are none of the other.
        probes: Lists that a query looks into, or candidates that a walk keeps; 0 where there is neither.
        shortlist: Candidates that are scored exactly in each segment.
        rows: Items in segments with structures.
        memory_bytes: Of these structures, with vectors that are in memory beside them.
        needed_bytes: What the searcher would take in all while they are built, where that is over the budget.
        limit_bytes: What structures and vectors of all collections may take together.
    """

    state: StructureState = StructureState.EXACT
    kind: Kind = Kind.FLAT_FLOAT32
    recall: float | None = None
    is_cross_modal: bool = False
    probes: int = 0
    shortlist: int = 0
    rows: int = 0
    memory_bytes: int = 0
    needed_bytes: int = 0
    limit_bytes: int = 0
