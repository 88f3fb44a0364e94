"""What may be said of a difference, before and after, from its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from isthmus.core.gap.bootstrap import Figure
from isthmus.core.gap.corpus import PAIRS_MIN

__all__ = ["Change", "Difference"]


class Change(StrEnum):
    """What an interval says."""

    RISES = "rises"
    """All of it lies above zero."""
    FALLS = "falls"
    """All of it lies below zero."""
    KEPT = "kept"
    """It holds zero and reaches no further down than was allowed."""
    TOO_FEW = "too few to tell"
    """It holds zero and more than was allowed, or there are fewer than 16 pair keys behind it."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure after minus the same figure before, over the same queries."""

    figure: Figure
    """With the interval of the paired bootstrap by pair key."""
    change: Change

    @classmethod
    def of(cls, figure: Figure, *, pair_count: int, allowed: float = 0.0) -> Difference:
        """Judge a difference.

        Args:
            figure: The difference.
            pair_count: Pair keys behind it; below 16 nothing is said.
            allowed: How far it may have fallen and still count as kept.
        """
        if pair_count < PAIRS_MIN:
            change = Change.TOO_FEW
        elif figure.low > 0.0:
            change = Change.RISES
        elif figure.high < 0.0:
            change = Change.FALLS
        else:
            change = Change.KEPT if figure.low >= -allowed else Change.TOO_FEW
        return cls(figure=figure, change=change)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "value": self.figure.value,
            "low": self.figure.low,
            "high": self.figure.high,
            "change": self.change.value,
        }
