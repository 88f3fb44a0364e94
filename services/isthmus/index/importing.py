"""Files of rows from the import folder, as upserts: read, held to their digests, checked like any other item."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pyarrow import fs

from isthmus.index.model import CollectionSettings, ItemFailure, NewItem, SpacedVectors, UpsertResult
from isthmus.index.mutations import Upsert, prepare_upsert
from isthmus.runtime.base.digests import DIGEST_BYTES
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.import_rows import IMPORT_SUFFIX, ImportRow, unpack_rows
from isthmus.runtime.base.limits import IMPORT_FILE_MAX_BYTES, IMPORT_FILES_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_name, check_request_id
from isthmus.runtime.base.object_store import ObjectStore

__all__ = ["ImportFile", "ImportFolder", "ImportOutcome", "check_import", "prepare_import"]

_REQUEST_ID_DIGITS: Final = 56


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file as a caller names it.

    Attributes:
        name: Without suffix.
        digest: SHA-256 of its bytes.
    """

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of the files of one request, by position.

    Attributes:
        stored: Files that were stored.
        refused: Files that were refused as a whole.
    """

    stored: dict[int, UpsertResult]
    refused: dict[int, IsthmusError]


class ImportFolder:
    """Where files of rows are taken from: below it, a folder a tenant, in that a folder a job, in that files.

    No part of a place is anything but a checked name, and no link is followed out of the folder.

    Args:
        location: The folder, or a place in an object store; None means that nothing can be imported.
        store: How an object store is reached.
    """

    def __init__(self, location: Path | str | None, store: ObjectStore) -> None:
        self._location = location
        self._store = store

    def may_hold_files(self, tenant: str) -> bool:
        """Return False when there is certainly no file of a tenant."""
        if not isinstance(self._location, Path):
            return self._location is not None
        return any(file.is_file() for file in (self._location / tenant).rglob("*"))

    def read(self, tenant: str, folder: str, name: str) -> bytes:
        """Return the bytes of a file. Blocks.

        Raises:
            FailedPreconditionError: IMPORT_DISABLED.
            NotFoundError: IMPORT_FILE_NOT_FOUND.
            InvalidArgumentError: INVALID_NAME.
            ResourceExhaustedError: LIMIT_EXCEEDED; it is too large.
            UnavailableError: BACKEND_UNAVAILABLE; it cannot be read now.
        """
        check_name(tenant, field="tenant")
        check_name(folder, field="folder")
        check_name(name, field="files.name")
        if self._location is None:
            msg = "the writer has no import folder"
            raise FailedPreconditionError(msg, reason="IMPORT_DISABLED")
        parts = (tenant, folder, f"{name}{IMPORT_SUFFIX}")
        try:
            if isinstance(self._location, Path):
                return _read_below(self._location, parts)
            return self._read_object(self._location, parts)
        except FileNotFoundError as error:
            raise _not_found() from error
        except (OSError, ValueError) as error:
            msg = "the import folder cannot be read"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error

    def _read_object(self, location: str, parts: tuple[str, ...]) -> bytes:
        system, root = self._store.file_system(location)
        where = "/".join((root.rstrip("/"), *parts))
        info = system.get_file_info(where)
        if info.type is not fs.FileType.File:
            raise _not_found()
        _check_size(int(info.size))
        with system.open_input_file(where) as file:
            data: bytes = file.read()
        return data


def check_import(folder: str, files: Sequence[ImportFile], request_id: str) -> None:
    """Check what a request says before anything is read.

    Raises:
        InvalidArgumentError: INVALID_NAME, INVALID_FIELD, FIELD_REQUIRED, EMPTY_INPUT.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    check_request_id(request_id)
    check_name(folder, field="folder")
    check_count(files, field="files", limit=IMPORT_FILES_MAX_COUNT)
    for file in files:
        check_name(file.name, field="files.name")
        if len(file.digest) != DIGEST_BYTES:
            msg = f"files.digest must have {DIGEST_BYTES} bytes; it has {len(file.digest)}"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "files.digest"})


def prepare_import(
    data: bytes, file: ImportFile, *, settings: CollectionSettings, request_id: str
) -> tuple[Upsert, tuple[ItemFailure, ...]]:
    """Make the mutation of one file.

    Its request id is the digest of the request's, the file's name and its content: the same file under the same id is
    one mutation, in whatever company it comes.

    Args:
        data: Its bytes.
        file: What the caller says of it.
        settings: Of the collection.
        request_id: Of the request.

    Returns:
        The mutation of the rows that are right, and what is wrong with each of the others.

    Raises:
        DataLossError: IMPORT_FILE_DAMAGED.
        ResourceExhaustedError: LIMIT_EXCEEDED.
        FailedPreconditionError: SPACE_MISMATCH.
    """
    content = unpack_rows(data, digest=file.digest)
    fits = [_fits(row, settings) for row in content.rows]
    kept = [index for index, right in enumerate(fits) if right]
    rows = [content.rows[index] for index in kept]
    vectors = {
        modality: SpacedVectors(
            content.spaces.get(modality, ""),
            np.frombuffer(b"".join(row.embedding for row in rows if row.modality is modality), dtype="<f2")
            .astype(np.float32)
            .reshape(-1, settings.dimension(modality)),
        )
        for modality in {row.modality for row in rows}
    }
    parts = (request_id.encode(), file.name.encode(), file.digest)
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:_REQUEST_ID_DIGITS]
    mutation, failures = prepare_upsert(
        [_item(row) for row in rows], vectors, settings=settings, request_id=f"import.{name}"
    )
    found = {kept[failure.index]: failure.error for failure in failures}
    found |= {index: _wrong_size() for index, right in enumerate(fits) if not right}
    return mutation, tuple(ItemFailure(index, found[index]) for index in sorted(found))


def _fits(row: ImportRow, settings: CollectionSettings) -> bool:
    dimension = settings.dimension(row.modality)
    return bool(dimension) and len(row.embedding) == dimension * np.dtype("<f2").itemsize


def _item(row: ImportRow) -> NewItem:
    return NewItem(
        id=row.id,
        modality=row.modality,
        attributes=row.attributes,
        pair_key=row.pair_key,
        content_digest=row.content_digest,
        content_words=row.content_words,
    )


def _read_below(root: Path, parts: tuple[str, ...]) -> bytes:
    """Read a plain file below `root`, wherever links among its folders lead."""
    found = root.joinpath(*parts)
    if not found.resolve(strict=True).is_relative_to(root.resolve()):
        raise _not_found()
    about = found.stat()
    if not stat.S_ISREG(about.st_mode):
        raise _not_found()
    _check_size(about.st_size)
    return found.read_bytes()


def _check_size(size: int) -> None:
    if size > IMPORT_FILE_MAX_BYTES:
        msg = f"the file has {size} bytes; the limit is {IMPORT_FILE_MAX_BYTES}"
        metadata = {"field": "files", "limit": str(IMPORT_FILE_MAX_BYTES), "bytes": str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)


def _not_found() -> NotFoundError:
    msg = "the import folder has no such file"
    return NotFoundError(msg, reason="IMPORT_FILE_NOT_FOUND", metadata={"field": "files"})


def _wrong_size() -> InvalidArgumentError:
    msg = "the embedding is not of the collection's dimension for its modality"
    return InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": "embedding"})
