"""What is known of items beside their vectors and pair keys: ids, a value of one attribute, words of the text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from isthmus.core.errors import ShapeError
from isthmus.core.modality import Modality

__all__ = ["ItemNotes", "Scalar", "agreed_values", "value_text", "word_count"]

Scalar = str | int | float | bool
"""A value that an attribute may have."""

_HAN: Final = r"\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA: Final = r"\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_THAI_LAO_KHMER_BURMESE: Final = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_SPACELESS: Final = (
    (re.compile(f"[{_HAN}]"), 2),
    (re.compile(f"[{_KANA}]"), 3),
    (re.compile(f"[{_THAI_LAO_KHMER_BURMESE}]"), 4),
)
"""Scripts without spaces between words, and how many letters of each stand for one."""
_ALL_SPACELESS: Final = re.compile(f"[{_HAN}{_KANA}{_THAI_LAO_KHMER_BURMESE}]")


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

    Scripts that write no spaces between words are counted by letters (Unicode category L, so that vowel signs and tone
    marks do not count): two of Han, three of kana, four of Thai, Lao, Khmer or Burmese stand for a word, rounded up for
    each script. That is a rule of thumb, not segmentation; it tells short captions from long ones.
    """
    words = 0
    for letters, letters_a_word in _SPACELESS:
        found = sum(unicodedata.category(letter)[0] == "L" for letter in letters.findall(text))
        words += -(-found // letters_a_word)
    if not words:
        return len(text.split())
    between = _ALL_SPACELESS.sub(" ", text)
    return words + sum(any(map(str.isalnum, run)) for run in between.split())


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
