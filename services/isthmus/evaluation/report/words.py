"""Figures as people read them: with units, and intervals in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from isthmus.core.gap import Figure

__all__ = ["Unit", "interval", "listed", "percent", "points", "share_of", "shown", "signed"]

_THIN_SPACE: Final = "\u202f"
_LARGE: Final = 100.0
_SMALL: Final = 0.1


class Unit(StrEnum):
    """What a measure counts in."""

    SHARE = "share"
    """A part of a whole, shown in percent."""
    NUMBER = "number"
    """A distance or an index without a unit."""
    RANK = "rank"
    """A place in a list, counted from 1."""
    POINTS = "points"
    """A sum of percentages."""


def percent(share: float) -> str:
    """Return a share in [0, 1], `73.8 %`."""
    return f"{100.0 * share:.1f}{_THIN_SPACE}%"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return signed(f"{100.0 * share:+.1f}")


def signed(text: str) -> str:
    """Return a formatted number with a real minus, and with no sign before a zero."""
    return text.replace("-", "\N{MINUS SIGN}") if text.strip("+-0.") else text.lstrip("+-")


def shown(value: float, unit: Unit) -> str:
    """Return a value in its unit."""
    return _FORMATS[unit](value)


def interval(figure: Figure, unit: Unit) -> str:
    """Return the ends of an interval, `0.84 to 0.86`."""
    low, high = shown(figure.low, unit), shown(figure.high, unit)
    return f"always {low}" if low == high else f"{low} to {high}"


def share_of(share: float, count: int) -> str:
    """Return how many of `count` queries a share is, `185 of 250`."""
    hits = round(share * count)
    return f"none of {count:,}" if hits == 0 else f"all {count:,}" if hits == count else f"{hits:,} of {count:,}"


def listed(names: Sequence[str]) -> str:
    """Return at least one name as a sentence lists them."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _number(value: float) -> str:
    digits = 0 if abs(value) >= _LARGE else 2 if abs(value) >= _SMALL else 4
    return signed(f"{value:.{digits}f}")


_FORMATS: Final[dict[Unit, Callable[[float], str]]] = {
    Unit.SHARE: percent,
    Unit.NUMBER: _number,
    Unit.RANK: lambda value: f"{value:,.1f}",
    Unit.POINTS: lambda value: f"{value:.0f}",
}
