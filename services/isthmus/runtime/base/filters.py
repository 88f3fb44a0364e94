"""What a search asks of its answers' attributes: a tree of conditions, checked.

An attribute that is missing, or of another type than the value it is compared with, matches no condition, and so only
a `NoneOf` of it. Whole and other numbers are one type, compared by value; texts are ordered by code point; a boolean
equals nothing but itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from isthmus.runtime.base.digests import AttributeScalar

__all__ = ["AllOf", "AnyOf", "Between", "End", "Exists", "Filter", "NoneOf", "OneOf", "Prefix"]


@dataclass(frozen=True, slots=True)
class OneOf:
    """An attribute equals one of `values`, which are of any types."""

    attribute: str
    values: tuple[AttributeScalar, ...]


@dataclass(frozen=True, slots=True)
class End:
    """An end of a range.

    Attributes:
        value: A finite number or a text.
        closed: True when the end itself belongs to the range.
    """

    value: str | float
    closed: bool


@dataclass(frozen=True, slots=True)
class Between:
    """An attribute lies between two ends of one type; None means that there is no such end, but never both."""

    attribute: str
    low: End | None
    high: End | None


@dataclass(frozen=True, slots=True)
class Prefix:
    """An attribute is a text that begins with `prefix`."""

    attribute: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The item has the attribute."""

    attribute: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of them hold."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """None of them holds."""

    filters: tuple[Filter, ...]


Filter: TypeAlias = OneOf | Between | Prefix | Exists | AllOf | AnyOf | NoneOf
