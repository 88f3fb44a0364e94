"""The rows of a collection's event table, and the digests that prove them.

A collection is the list of everything that happened to it. Each row is one event: an item stored, an item deleted, an
aligner made active, or one set to be compared with it; the newest revision of an id wins. Nothing is ever changed in
place, so a reader that knows revision r is brought up to date by the rows above r. What no longer counts is folded away
in time: a FOLD event, which takes no revision of its own, then vouches for what is left (see `folds`).
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.model import AlignerFiles, attributes_from_json
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import DataLossError

__all__ = [
    "EVENT_SCHEMA",
    "FOLD_ID",
    "MODALITIES_BY_CODE",
    "MODALITY_CODES",
    "SHADOW_ID",
    "VERIFIED_COLUMNS",
    "Answer",
    "Event",
    "Op",
    "embedding_rows",
    "events_to_table",
    "item_digest",
    "pack_aligner",
    "unpack_aligner",
    "verify_rows",
    "verify_thumbnails",
]


class Op(IntEnum):
    """What an event did. Numbers are stored: never change one."""

    UPSERT = 1
    DELETE = 2
    SETTINGS = 3
    SHADOW = 4
    FOLD = 5


FOLD_ID: Final = "\x01fold"
"""What a FOLD event has for an id; see `folds`."""

SHADOW_ID: Final = "\x01shadow"
"""What a SHADOW event has for an id: the newest of an id counts, and no item's id holds a control character."""

MODALITY_CODES: Final = {Modality.IMAGE: 1, Modality.TEXT: 2}
"""How a modality is stored; 0 is none."""

MODALITIES_BY_CODE: Final = {code: modality for modality, code in MODALITY_CODES.items()}
"""The modality of a stored code."""

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("revision", pa.int64(), nullable=False),
        pa.field("op", pa.int8(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("time", pa.int64(), nullable=False),  # microseconds since 1970
        pa.field("id", pa.string(), nullable=False),
        pa.field("modality", pa.int8(), nullable=False),
        pa.field("space", pa.string(), nullable=False),  # raw space of an item; else the aligned space
        pa.field("embedding", pa.binary(), nullable=False),  # little-endian float16, canonical
        pa.field("attributes", pa.binary(), nullable=False),  # JSON
        pa.field("pair_key", pa.string(), nullable=False),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("content_digest", pa.binary(), nullable=False),
        pa.field("metadata_digest", pa.binary(), nullable=False),
        pa.field("item_digest", pa.binary(), nullable=False),  # equal for equal items
        pa.field("answer", pa.binary(), nullable=False),  # JSON; on the first row of a mutation
        pa.field("payload", pa.binary(), nullable=False),  # an aligner's artefact
        pa.field("row_digest", pa.binary(), nullable=False),
    ]
)
"""Variable parts are empty, not null, where there is nothing."""

VERIFIED_COLUMNS: Final = tuple(name for name in EVENT_SCHEMA.names if name not in {"thumbnail", "row_digest"})
"""What a row's digest covers. A thumbnail is covered by `metadata_digest`: rows can be verified without reading it."""

_LENGTHS: Final = struct.Struct("<qbbq11I")
_MANIFEST_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a mutation was answered; stored with it, so that its request id is answered alike for ever."""

    op: Op
    revision: int
    created_count: int = 0
    updated_count: int = 0
    unchanged_count: int = 0
    deleted_count: int = 0
    before: int | None = None
    """Of a SETTINGS event: revision of the one that a rollback returns to, 0 for none; None when it was written before
    there were rollbacks, and the one before it in time is meant."""

    @property
    def rows(self) -> int:
        """Events that the mutation wrote."""
        if self.op in (Op.SETTINGS, Op.SHADOW):
            return 1
        return self.deleted_count if self.op is Op.DELETE else self.created_count + self.updated_count

    def to_json(self) -> bytes:
        """Return the numbers as the event table stores them."""
        counts = (self.created_count, self.updated_count, self.unchanged_count, self.deleted_count)
        numbers = counts if self.before is None else (*counts, self.before)
        return json.dumps(numbers, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes, *, op: int, revision: int) -> Answer:
        """Read what `to_json` wrote."""
        created, updated, unchanged, deleted, *rest = json.loads(data)
        return cls(
            op=Op(op),
            revision=revision,
            created_count=created,
            updated_count=updated,
            unchanged_count=unchanged,
            deleted_count=deleted,
            before=rest[0] if rest else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row to append; its time and its digest are added when it is written."""

    revision: int
    op: Op
    request_id: str
    id: str = ""
    modality: int = 0
    space: str = ""
    embedding: bytes = b""
    attributes: bytes = b""
    pair_key: str = ""
    thumbnail: bytes = b""
    content_digest: bytes = b""
    metadata_digest: bytes = b""
    item_digest: bytes = b""
    answer: bytes = b""
    payload: bytes = b""


def item_digest(*, space: str, content_digest: bytes, embedding: bytes, metadata_digest: bytes) -> bytes:
    """Return the SHA-256 that is equal for items that are stored just so already.

    Equal content in an equal space is an equal item, whatever the last bits of its embedding, which may depend on the
    batch it was encoded in; an item that was given as a vector is compared by that vector.
    """
    source = content_digest or hashlib.sha256(embedding).digest()
    parts = (space.encode(), bytes([bool(content_digest)]), source, metadata_digest)
    return hashlib.sha256(b"".join(struct.pack("<I", len(part)) + part for part in parts)).digest()


def _row_digest(values: Sequence[Any]) -> bytes:
    """Return the SHA-256 over one row; `values` follow VERIFIED_COLUMNS, texts as UTF-8 bytes."""
    revision, op, request_id, stamp, item_id, modality, space, *rest = values
    parts = (request_id, item_id, space, *rest)
    header = _LENGTHS.pack(revision, op, modality, stamp, *map(len, parts))
    return hashlib.sha256(b"".join((header, *parts))).digest()


def events_to_table(events: Sequence[Event]) -> pa.Table:
    """Return the rows as they are appended, stamped and digested."""
    now_us = time.time_ns() // 1000
    columns: dict[str, list[object]] = {
        name: [now_us] * len(events) if name == "time" else [getattr(event, name) for event in events]
        for name in EVENT_SCHEMA.names
        if name != "row_digest"
    }
    table = pa.table(
        [pa.array(columns[name], EVENT_SCHEMA.field(name).type) for name in VERIFIED_COLUMNS], names=VERIFIED_COLUMNS
    )
    columns["row_digest"] = [_row_digest(values) for values in _verified(table)]
    return pa.table([pa.array(columns[field.name], field.type) for field in EVENT_SCHEMA], schema=EVENT_SCHEMA)


def verify_rows(rows: pa.RecordBatch | pa.Table) -> None:
    """Check every row against its digest.

    Args:
        rows: With VERIFIED_COLUMNS and `row_digest`.

    Raises:
        DataLossError: STORE_DAMAGED; metadata holds the number of damaged rows.
    """
    damaged = sum(digest != _row_digest(values) for digest, values in _digested(rows))
    if damaged:
        msg = f"{damaged} of {rows.num_rows} stored rows do not match their digest"
        raise DataLossError(msg, reason="STORE_DAMAGED", metadata={"rows": str(damaged)})


def verify_thumbnails(rows: pa.Table) -> None:
    """Check every thumbnail of verified rows.

    Args:
        rows: With VERIFIED_COLUMNS and `thumbnail`.

    Raises:
        DataLossError: STORE_DAMAGED.
    """
    names = ("modality", "attributes", "pair_key", "thumbnail", "metadata_digest")
    for modality, attributes, pair_key, thumbnail, digest in zip(*(rows[n].to_pylist() for n in names), strict=True):
        known, words = attributes_from_json(attributes)
        found = metadata_digest(
            MODALITIES_BY_CODE[modality].value,
            attributes=known,
            pair_key=pair_key,
            thumbnail=thumbnail,
            content_words=words,
        )
        if found != digest:
            msg = "a stored thumbnail does not match its digest"
            raise DataLossError(msg, reason="STORE_DAMAGED")


def _digested(rows: pa.RecordBatch | pa.Table) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    return zip(rows.column("row_digest").to_pylist(), _verified(rows), strict=True)


def _verified(rows: pa.RecordBatch | pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield what each row's digest covers; Arrow turns texts into bytes a column at a time, not a value at a time."""
    columns = (rows.column(name) for name in VERIFIED_COLUMNS)
    plain = (
        column.cast(pa.binary()) if column.type in {pa.string(), pa.large_string()} else column for column in columns
    )
    return zip(*(column.to_pylist() for column in plain), strict=True)


def embedding_rows(column: pa.Array | pa.ChunkedArray, dimension: int) -> NDArray[np.float32]:
    """Return stored embeddings of one space.

    Args:
        column: Little-endian float16 bytes, one value a row.
        dimension: Of that space.

    Returns:
        (n, dimension) float32, the canonical values bit for bit.

    Raises:
        DataLossError: STORE_DAMAGED; a row has another length.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(array):
        return np.empty((0, dimension), dtype=np.float32)
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    if (np.diff(offsets) != dimension * 2).any():
        msg = "stored embeddings are not of their space's dimension"
        raise DataLossError(msg, reason="STORE_DAMAGED")
    data = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    return data.view("<f2").astype(np.float32).reshape(len(array), dimension)


def pack_aligner(files: AlignerFiles) -> bytes:
    """Return an artefact as one payload: the manifest's length, the manifest, the tensors."""
    return _MANIFEST_LENGTH.pack(len(files.manifest)) + files.manifest + files.tensors


def unpack_aligner(payload: bytes) -> AlignerFiles | None:
    """Read what `pack_aligner` wrote; an empty payload means none."""
    if not payload:
        return None
    (length,) = _MANIFEST_LENGTH.unpack_from(payload)
    start = _MANIFEST_LENGTH.size
    return AlignerFiles(manifest=payload[start : start + length], tensors=payload[start + length :])
