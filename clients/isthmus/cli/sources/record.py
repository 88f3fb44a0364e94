"""What a source yields: items to store, or what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from isthmus.client import Item, Modality, SpacedVector

__all__ = ["GivenSpace", "Record", "Refused", "Source", "SourceError", "captioned", "text_item", "text_items"]

_TEXT_ATTRIBUTE_MAX_BYTES: Final = 4 * 1024
"""What the mesh takes as the value of one attribute."""


class SourceError(Exception):
    """A source as a whole cannot be read; the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is no item; its neighbours are indexed.

    Attributes:
        id: The id it would have had.
        reason: For machines.
        message: For a person.
    """

    id: str
    reason: str
    message: str


Record: TypeAlias = Item | Refused


@dataclass(frozen=True, slots=True)
class GivenSpace:
    """The raw space of vectors that a source brings along."""

    space: str
    dimension: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something to index.

    Attributes:
        path: Where it is.
        records: Starts reading it.
        total: Items in it, when that is known before reading.
        contents: Modalities that the mesh's encoders are needed for.
        spaces: Spaces of the vectors it brings along.
    """

    path: Path
    records: Callable[[], Iterator[Record]]
    total: int | None = None
    contents: frozenset[Modality] = frozenset()
    spaces: Mapping[Modality, GivenSpace] = field(default_factory=dict)


def text_item(item_id: str, text: str, *, pair_key: str = "") -> Item:
    """Return a text that shows itself: search answers carry attributes, and no content."""
    cut = text.encode(errors="replace")[:_TEXT_ATTRIBUTE_MAX_BYTES].decode(errors="ignore")
    return Item(id=item_id, text=text, pair_key=pair_key, attributes={"text": cut})


def text_items(item_id: str, texts: Sequence[str], *, pair_key: str = "") -> Iterator[Item]:
    """Yield texts that belong together: one alone keeps the id, several are numbered and share a pair key."""
    if len(texts) == 1:
        yield text_item(item_id, texts[0], pair_key=pair_key)
        return
    for number, text in enumerate(texts):
        yield text_item(f"{item_id}#{number}", text, pair_key=pair_key or item_id)


def captioned(
    item_id: str, image: bytes | SpacedVector, captions: Sequence[str], *, thumbnail: bytes = b""
) -> Iterator[Item]:
    """Yield an image and its captions, as items of one pair key: the image's id."""
    if isinstance(image, SpacedVector):
        yield Item(id=item_id, vector=image, pair_key=item_id)
    else:
        yield Item(id=item_id, image=image, pair_key=item_id, thumbnail=thumbnail)
    for number, caption in enumerate(captions):
        yield text_item(f"{item_id}#{number}", caption, pair_key=item_id)
