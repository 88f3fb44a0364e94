"""Held-out queries in slices: an average can rise while a season, a kind of caption or a list of queries gets worse.

A slice chooses queries; what they search is the same for all: every held-out item of both modalities.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import NotEnoughItemsError, OptionError
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes, agreed_values

__all__ = ["LENGTH_BANDS", "SLICES_MAX_COUNT", "QueryList", "QuerySlice", "SliceKind", "SlicePlan", "SliceRequest"]

SLICES_MAX_COUNT: Final = 32
"""Different values of an attribute that become slices; of more, none would have queries enough."""
LENGTH_BANDS: Final = ("1-5", "6-8", "9-12", "13-20", "21-40", "41+")
"""Words of a caption, both ends included."""

_BAND_ENDS: Final = (5, 8, 12, 20, 40)


class SliceKind(StrEnum):
    """What a slice was cut by."""

    ALL = "all"
    """Nothing: every held-out query, to compare the others with."""
    ATTRIBUTE = "attribute"
    """A value of an attribute."""
    CAPTION_LENGTH = "caption_length"
    """Words of the caption."""
    QUERIES = "queries"
    """Being on a list."""


@dataclass(frozen=True, kw_only=True)
class SliceRequest:
    """What to cut by."""

    by_attribute: bool = False
    """By the values in the items' notes."""
    by_caption_length: bool = False
    """By the words in the items' notes."""
    query_ids: Sequence[str] = ()
    """Ids of the queries that are one slice; an id that is there twice counts once."""

    @property
    def cuts(self) -> bool:
        """Whether anything is to be cut."""
        return self.by_attribute or self.by_caption_length or bool(self.query_ids)


@dataclass(frozen=True, kw_only=True)
class QuerySlice:
    """Some of the queries."""

    kind: SliceKind
    value: str
    """The attribute's value as text, or the band; empty for the other kinds."""
    members: Mapping[Modality, NDArray[np.bool_]]
    """Per modality (n,) which items are in it."""


@dataclass(frozen=True, kw_only=True)
class QueryList:
    """What became of a list of query ids; positions count from 1."""

    given: int
    """Ids on the list."""
    judged: int
    """Different ids of held-out items."""
    learned: tuple[int, ...]
    """Positions of items that the aligner may have been fitted on: they would flatter it."""
    unknown: tuple[int, ...]
    """Positions of ids that no paired item has."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "given": self.given,
            "judged": self.judged,
            "learned": list(self.learned),
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """Which queries are in which slice."""

    slices: tuple[QuerySlice, ...]
    """All queries first."""
    without: Mapping[SliceKind, int]
    """By kind, queries without a value, which are in none of its slices."""
    queries: QueryList | None
    """Of the list; None where there was none."""

    @classmethod
    def of(
        cls,
        request: SliceRequest,
        *,
        notes: Mapping[Modality, ItemNotes],
        keys: Mapping[Modality, Sequence[str | None]],
        learned_ids: Collection[str] = (),
    ) -> SlicePlan:
        """Cut held-out items into slices.

        Args:
            request: What to cut by.
            notes: On the held-out items.
            keys: Their pair keys.
            learned_ids: Ids of the items that are not held out.

        Raises:
            OptionError: No held-out item has a value of the attribute or a caption of known length; there are more
                than 32 different values.
            NotEnoughItemsError: No id on the list is that of a held-out item.
        """
        everything = {modality: np.ones(len(found.ids), dtype=np.bool_) for modality, found in notes.items()}
        slices = [QuerySlice(kind=SliceKind.ALL, value="", members=everything)]
        without: dict[SliceKind, int] = {}
        if request.by_attribute:
            own = {modality: found.values or [""] * len(found.ids) for modality, found in notes.items()}
            values = agreed_values(own, keys)
            counted = Counter(value for found in values.values() for value in found if value)
            if not counted:
                msg = "slices.attribute: no held-out item has a value of it"
                raise OptionError(msg)
            if len(counted) > SLICES_MAX_COUNT:
                msg = (
                    f"slices.attribute: {len(counted)} different values among the held-out items; the limit is "
                    f"{SLICES_MAX_COUNT}: choose a coarser attribute"
                )
                raise OptionError(msg)
            by_size = sorted(counted, key=lambda value: (-counted[value], value))
            slices += _of_values(SliceKind.ATTRIBUTE, by_size, values)
            without[SliceKind.ATTRIBUTE] = _without(values)
        if request.by_caption_length:
            own = {
                modality: [_band(count) for count in found.words] or [""] * len(found.ids)
                for modality, found in notes.items()
            }
            values = agreed_values(own, keys)
            there = [band for band in LENGTH_BANDS if any(band in found for found in values.values())]
            if not there:
                msg = (
                    "slices.caption_length: the length of no held-out caption is known; index the texts again, which "
                    "encodes nothing, or state the words of each vector"
                )
                raise OptionError(msg)
            slices += _of_values(SliceKind.CAPTION_LENGTH, there, values)
            without[SliceKind.CAPTION_LENGTH] = _without(values)
        listed = None
        if request.query_ids:
            slice_, listed = _of_list(request.query_ids, notes, learned_ids)
            slices.append(slice_)
        return cls(slices=tuple(slices), without=without, queries=listed)


def _band(words: int) -> str:
    return LENGTH_BANDS[bisect.bisect_left(_BAND_ENDS, words)] if words > 0 else ""


def _of_values(kind: SliceKind, names: Sequence[str], values: Mapping[Modality, Sequence[str]]) -> list[QuerySlice]:
    """Return a slice for each name."""
    number = {name: place for place, name in enumerate(names)}
    coded = {
        modality: np.array([number.get(value, -1) for value in found], dtype=np.intp)
        for modality, found in values.items()
    }
    return [
        QuerySlice(kind=kind, value=name, members={modality: codes == place for modality, codes in coded.items()})
        for name, place in number.items()
    ]


def _without(values: Mapping[Modality, Sequence[str]]) -> int:
    return sum(not value for found in values.values() for value in found)


def _of_list(
    wanted: Sequence[str], notes: Mapping[Modality, ItemNotes], learned_ids: Collection[str]
) -> tuple[QuerySlice, QueryList]:
    judged_ids = {item_id for found in notes.values() for item_id in found.ids}
    learned_set, chosen = set(learned_ids) - judged_ids, set(wanted)
    learned = [place for place, item_id in enumerate(wanted, 1) if item_id in learned_set]
    known_ids = judged_ids | learned_set
    unknown = [place for place, item_id in enumerate(wanted, 1) if item_id not in known_ids]
    found = QueryList(
        given=len(wanted), judged=len(chosen & judged_ids), learned=tuple(learned), unknown=tuple(unknown)
    )
    if not found.judged:
        msg = (
            f"slices.query_ids: none of {found.given} is a held-out item; {len(learned)} may have been fitted on, "
            f"{len(unknown)} are of no paired item"
        )
        raise NotEnoughItemsError(msg)
    members = {
        modality: np.array([item_id in chosen for item_id in noted.ids], dtype=np.bool_)
        for modality, noted in notes.items()
    }
    return QuerySlice(kind=SliceKind.QUERIES, value="", members=members), found
