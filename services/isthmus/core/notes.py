"""What is known of items beside their vectors and pair keys: ids, a value of one attribute, words of the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from isthmus.core.errors import ShapeError
from isthmus.core.modality import Modality

__all__ = ["ItemNotes", "Scalar", "agreed_values", "value_text", "word_count"]

Scalar = str | int | float | bool
"""A value that an attribute may have."""


@dataclass(frozen=True, kw_only=True)
class ItemNotes:
    """Notes on n items of one modality; entry i belongs to row i of their vectors.

    Raises:
        ShapeError: There is not one entry for each id.
    """

    ids: Sequence[str]
    """n ids, all different."""
    values: Sequence[str] = ()
    """n values of one attribute as text, empty where an item has none; no entry at all where nobody asked."""
    words: Sequence[int] = ()
    """n numbers of words, 0 where that is not known; no entry at all where nobody asked."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if len(self.values) not in (0, len(self.ids)) or len(self.words) not in (0, len(self.ids)):
            msg = "notes: need one value and one number of words for each id"
            raise ShapeError(msg)

    def take(self, rows: Sequence[int]) -> Self:
        """Return the notes on some of the items."""
        return type(self)(
            ids=[self.ids[row] for row in rows],
            values=[self.values[row] for row in rows] if self.values else (),
            words=[self.words[row] for row in rows] if self.words else (),
        )


def word_count(text: str) -> int:
    """Return how many words a text has: runs without white space between them.

    A script without spaces between words has few words by this count, and long ones; slices by length then say little.
    """
    return len(text.split())


def value_text(value: Scalar) -> str:
    """Return a value of an attribute as text, so that slices can be named by it; empty for one that is no value.

    Values of different types that read alike (1 and "1") are one slice.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return str(value)


def agreed_values(
    values: Mapping[Modality, Sequence[str]], keys: Mapping[Modality, Sequence[str | None]]
) -> dict[Modality, list[str]]:
    """Return each item's own value; where it has none, the one that all items of its pair key which have one agree on.

    A category that only the photos carry so holds for their captions too, and a length that only captions have for
    their photo if there is just one kind of it.

    Args:
        values: Per modality n own values, empty where an item has none.
        keys: Per modality n pair keys; None or empty where an item has none.

    Returns:
        Per modality n values; empty where there is none, or where the pair is of two minds.
    """
    known: dict[str, set[str]] = {}
    for modality, own in values.items():
        for value, key in zip(own, keys[modality], strict=True):
            if value and key:
                known.setdefault(key, set()).add(value)
    agreed = {key: next(iter(found)) for key, found in known.items() if len(found) == 1}
    return {
        modality: [
            value or (agreed.get(key, "") if key else "") for value, key in zip(own, keys[modality], strict=True)
        ]
        for modality, own in values.items()
    }
