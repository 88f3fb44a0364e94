"""What calls for aliases return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Alias", "AliasComparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasComparison:
    """How two collections answer the same questions; shares in [0, 1]."""

    old_collection: str
    """What the alias pointed at."""
    new_collection: str
    """What it points at since."""
    old_revision: int
    """Of the old collection, that was searched."""
    new_revision: int
    """Of the new collection, that was searched."""
    pair_count: int
    """Pairs of the old collection that were looked for."""
    missing_pair_count: int
    """Of these, not in the new collection."""
    old_t2i_recall: float
    """Share of the pairs whose image is among the first 10 answers to their text, before."""
    new_t2i_recall: float
    """The same since."""
    old_i2t_recall: float
    """Share of the pairs whose text is among the first 10 answers to their image, before."""
    new_i2t_recall: float
    """The same since."""
    neighbor_query_count: int
    """Items whose neighbours were compared."""
    neighbor_overlap: float
    """Share of their 10 nearest neighbours of their own modality that stayed, the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that points at a collection."""

    name: str
    """Its name."""
    collection: str
    """What it points at."""
    previous_collection: str
    """What it pointed at before; empty when it is new."""
    time: datetime | None
    """When it was set."""
    override_reason: str
    """Why it was switched although the collections may not agree; empty when they do."""
    comparison: AliasComparison | None
    """What was found when it was switched; None when it is new or was switched against all findings."""
