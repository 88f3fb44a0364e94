"""What the probe tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus.core.modality import Modality

__all__ = ["TOLERANCE", "RecallFigure"]

TOLERANCE: Final = 0.02
"""100 queries for ten neighbours each tell a recall of 0.95 within so much; the alert leaves as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallFigure:
    """Recall@10 of what is served, on queries of the other modality, against all vectors compared one by one.

    Attributes:
        item_modality: Of the answers.
        recall: In [0, 1].
        target: What it should not be below, in [0, 1].
        query_count: Queries that were asked.
        is_real: Whether people asked them; items of the other modality until there are 100 such.
        revision: That was measured.
        time_s: When, seconds since 1970.
    """

    item_modality: Modality
    recall: float
    target: float
    query_count: int
    is_real: bool
    revision: int
    time_s: float

    @property
    def is_low(self) -> bool:
        """True below the target by more than chance explains."""
        return self.recall < self.target - TOLERANCE
