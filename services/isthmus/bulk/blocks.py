"""What a bulk job is cut into, and what reading a block yields. Both travel to workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

from pyarrow import fs

from isthmus.core.modality import Modality
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.object_store import ObjectStore

__all__ = [
    "Block",
    "Columns",
    "Found",
    "Part",
    "RawItem",
    "Refusal",
    "SourceError",
    "captioned",
    "open_store",
    "texts_alone",
]

_KEY_DIGITS: Final = 24
_TEXT_ATTRIBUTE_MAX_BYTES: Final = 4 * 1024


class SourceError(Exception):
    """A source as a whole cannot be read; the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns; None looks for the usual ones."""

    image: str = "image"
    texts: str | None = None
    id: str = "id"
    pair: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a source, or a piece of one.

    Attributes:
        name: What its items are called after.
        where: Its path in its store.
        start: First byte.
        size: Bytes.
        kind: image, or how a text is written.
    """

    name: str
    where: str
    start: int = 0
    size: int = 0
    kind: Literal["image", "text", "json"] = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows that are encoded and stored together."""

    kind: Literal["parquet", "images", "tar"]
    location: str
    """The source, as `open_store` takes it."""
    stem: str
    """What the ids of its items begin with."""
    identity: str
    """Changes when the source's content does."""
    first: int
    """Its first row in the source, from 0."""
    count: int
    """Its rows."""
    parts: Sequence[Sequence[Part]] = ()
    """For each row its files, where rows are made of files."""
    columns: Columns = field(default_factory=Columns)
    """Of a table."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` made of a block."""
        parts = [[Part(**part) for part in row] for row in document["parts"]]
        return cls(**{**document, "parts": parts, "columns": Columns(**document["columns"])})

    def key(self, *salt: str) -> str:
        """Return a name that is this block's alone, the same on every run, made of its content's identity and place."""
        parts = [[[part.name, part.size] for part in row] for row in self.parts]
        told = [*salt, self.kind, self.stem, self.identity, self.first, self.count, parts, asdict(self.columns)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawItem:
    """An item that is not encoded yet."""

    row: int
    """Its row in the source."""
    id: str
    content: bytes | str
    pair_key: str = ""

    @property
    def modality(self) -> Modality:
        """What it is made of."""
        return Modality.TEXT if isinstance(self.content, str) else Modality.IMAGE

    @property
    def attributes(self) -> dict[str, AttributeScalar]:
        """A text shows itself, because search answers carry attributes and no content; an image has none."""
        if not isinstance(self.content, str):
            return {}
        cut = self.content.encode(errors="replace")[:_TEXT_ATTRIBUTE_MAX_BYTES]
        return {"text": cut.decode(errors="ignore")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that is not stored; its neighbours are."""

    source: str
    row: int
    id: str
    reason: str
    message: str


Found = RawItem | Refusal


def open_store(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or a URI, and the path in it.

    Raises:
        OSError: an object store cannot be reached.
    """
    plain = location.removeprefix("file://")
    return ObjectStore().file_system(plain if "://" in plain else Path(plain))


def captioned(row: int, item_id: str, image: bytes, texts: Sequence[str], *, pair_key: str) -> Iterator[RawItem]:
    """Yield an image and its texts, a pair: ids are those that `isthmus index` gives them."""
    yield RawItem(row=row, id=item_id, content=image, pair_key=pair_key)
    for number, text in enumerate(texts):
        yield RawItem(row=row, id=f"{item_id}#{number}", content=text, pair_key=pair_key)


def texts_alone(row: int, item_id: str, texts: Sequence[str], *, pair_key: str) -> Iterator[RawItem]:
    """Yield texts that have no image: one alone keeps the id, several are numbered."""
    if len(texts) == 1:
        yield RawItem(row=row, id=item_id, content=texts[0], pair_key=pair_key)
        return
    for number, text in enumerate(texts):
        yield RawItem(row=row, id=f"{item_id}#{number}", content=text, pair_key=pair_key)
