"""Files of rows: what a bulk job lays into the import folder and the index writer stores.

An Arrow IPC file of one fixed schema. It is named by its SHA-256, which is compared before a byte of it is read as
Arrow. Embeddings are canonical: little-endian float16, so that no bit moves between encoder and store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from isthmus.core.modality import Modality
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import DataLossError, ResourceExhaustedError
from isthmus.runtime.base.limits import IMPORT_FILE_MAX_BYTES, IMPORT_FILE_MAX_ROWS

__all__ = ["IMPORT_SUFFIX", "ImportRow", "ImportRows", "pack_rows", "unpack_rows"]

IMPORT_SUFFIX: Final = ".arrow"
"""Of the file's name; a caller never names it."""

_FORMAT: Final = b"1"
_KEYS: Final[Mapping[Modality, bytes]] = {
    Modality.IMAGE: b"isthmus.image_space",
    Modality.TEXT: b"isthmus.text_space",
}
_FORMAT_KEY: Final = b"isthmus.rows"
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("embedding", pa.binary(), nullable=False),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("pair_key", pa.string(), nullable=False),
        pa.field("content_digest", pa.binary(), nullable=False),
        pa.field("content_words", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow:
    """One item with its embedding."""

    id: str
    modality: Modality
    embedding: bytes
    """Little-endian float16."""
    attributes: Mapping[str, AttributeScalar]
    pair_key: str = ""
    content_digest: bytes = b""
    content_words: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRows:
    """What a file holds."""

    spaces: Mapping[Modality, str]
    """The raw space of each modality among the rows."""
    rows: Sequence[ImportRow]


def pack_rows(content: ImportRows) -> bytes:
    """Return a file of rows.

    Raises:
        ValueError: there are more rows than a file may hold, or its bytes are too many.
    """
    rows = content.rows
    if len(rows) > IMPORT_FILE_MAX_ROWS:
        msg = f"{len(rows)} rows; a file holds {IMPORT_FILE_MAX_ROWS} at most"
        raise ValueError(msg)
    metadata = {_FORMAT_KEY: _FORMAT} | {_KEYS[m]: space.encode() for m, space in content.spaces.items()}
    columns: list[list[object]] = [
        [row.id for row in rows],
        [row.modality.value for row in rows],
        [row.embedding for row in rows],
        [json.dumps(dict(row.attributes), sort_keys=True, ensure_ascii=False, allow_nan=False) for row in rows],
        [row.pair_key for row in rows],
        [row.content_digest for row in rows],
        [row.content_words for row in rows],
    ]
    schema = _SCHEMA.with_metadata(metadata)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    if len(data) > IMPORT_FILE_MAX_BYTES:
        msg = f"{len(data)} bytes; a file has {IMPORT_FILE_MAX_BYTES} at most"
        raise ValueError(msg)
    return data


def unpack_rows(data: bytes, *, digest: bytes) -> ImportRows:
    """Read a file of rows.

    Args:
        data: All of its bytes.
        digest: The SHA-256 they must have.

    Raises:
        DataLossError: IMPORT_FILE_DAMAGED; it is another file, or no file of rows.
        ResourceExhaustedError: LIMIT_EXCEEDED; it holds too many rows.
    """
    if hashlib.sha256(data).digest() != digest:
        msg = "the file does not match its digest"
        raise _damaged(msg)
    try:
        with pa.ipc.open_file(pa.py_buffer(data)) as reader:
            metadata = reader.schema.metadata or {}
            if not reader.schema.equals(_SCHEMA) or metadata.get(_FORMAT_KEY) != _FORMAT:
                msg = "the file holds no rows of this version"
                raise _damaged(msg)
            table = reader.read_all()
        table.validate(full=True)
        _check_rows(table.num_rows)
        spaces = {modality: metadata[key].decode() for modality, key in _KEYS.items() if key in metadata}
        return ImportRows(spaces=spaces, rows=[_row(row) for row in table.to_pylist()])
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        msg = "the file cannot be read as rows"
        raise _damaged(msg) from error


def _row(row: Mapping[str, object]) -> ImportRow:
    attributes = json.loads(str(row["attributes"]))
    if not isinstance(attributes, dict) or not all(isinstance(value, AttributeScalar) for value in attributes.values()):
        msg = "attributes are texts, numbers and booleans"
        raise TypeError(msg)
    return ImportRow(**{**row, "modality": Modality(row["modality"]), "attributes": attributes})  # type: ignore[arg-type]


def _check_rows(count: int) -> None:
    if count > IMPORT_FILE_MAX_ROWS:
        msg = f"the file holds {count} rows; the limit is {IMPORT_FILE_MAX_ROWS}"
        metadata = {"field": "files", "limit": str(IMPORT_FILE_MAX_ROWS), "count": str(count)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)


def _damaged(message: str) -> DataLossError:
    return DataLossError(message, reason="IMPORT_FILE_DAMAGED", metadata={"field": "files"})
