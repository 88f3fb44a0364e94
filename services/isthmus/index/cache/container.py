"""A file of named blobs, each with a checksum that is compared before anyone may use the blob.

FAISS reads a damaged file without a word: of 300 flat files with flipped bytes it loaded 292. So nothing that lies on a
disk is handed to it before its SHA-256 was found to be what it was when it was written.

Layout, numbers little-endian:

    magic (8), format version (4), zero (4)
    each blob at a multiple of 64 bytes, zeros before it
    index: UTF-8 JSON {"kind": …, "meta": {…}, "blobs": {name: [offset, length, SHA-256 in hex]}}
    length of the index (8), SHA-256 of all that is neither blob nor zeros (32), magic (8)

The index comes last, so that blobs of any size are written as they come. A file is written under another name, synced
and renamed: a name that is there is a file that is whole, but for what the disk did to it since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEMPORARY_SUFFIX", "Blob", "Container", "DamagedContainerError", "of_buffers", "write_container"]

TEMPORARY_SUFFIX: Final = ".tmp"
"""Of a file that is being written; one that is left behind holds nothing of worth."""

Buffer: TypeAlias = Any
"""Bytes, or a contiguous array."""
Blob: TypeAlias = Callable[[Callable[[Buffer], object]], None]
"""Called with what takes the next bytes of the blob, until it has given all of them."""

_MAGIC: Final = b"IsthmusC"
_FORMAT_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sII")
_TAIL: Final = struct.Struct("<Q32s8s")
_ALIGNMENT_BYTES: Final = 64
_INDEX_MAX_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 4 * 1024 * 1024


class DamagedContainerError(Exception):
    """A file is not what was written, or was written by another version of this code."""


def of_buffers(buffers: Iterable[Buffer]) -> Blob:
    """Return the blob that is these bytes or contiguous arrays, one after the other."""

    def give(take: Callable[[Buffer], object]) -> None:
        for buffer in buffers:
            take(buffer)

    return give


def write_container(path: Path, *, kind: str, meta: Mapping[str, Any], blobs: Mapping[str, Blob]) -> int:
    """Write a file whole or not at all: when this returns it is on the disk under its name.

    Args:
        path: Of the file, in a folder that is there; one of that name is replaced.
        kind: What the blobs are.
        meta: Whatever JSON can hold; finite.
        blobs: By name, written in their order.

    Returns:
        Bytes of the file.

    Raises:
        OSError: the disk is full, may not be written, or failed; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        # Nobody but this user may read what was stored.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _write(file, kind=kind, meta=meta, blobs=blobs)
            written = file.tell()
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return written


def _write(file: BinaryIO, *, kind: str, meta: Mapping[str, Any], blobs: Mapping[str, Blob]) -> None:
    head = _HEAD.pack(_MAGIC, _FORMAT_VERSION, 0)
    file.write(head)
    entries: dict[str, tuple[int, int, str]] = {}
    for name, blob in blobs.items():
        file.write(bytes(-file.tell() % _ALIGNMENT_BYTES))
        offset, digest = file.tell(), hashlib.sha256()

        def take(data: Buffer, digest: Any = digest) -> None:
            view = memoryview(data)
            digest.update(view)
            file.write(view)

        blob(take)
        entries[name] = (offset, file.tell() - offset, digest.hexdigest())
    index = json.dumps({"kind": kind, "meta": meta, "blobs": entries}, allow_nan=False).encode()
    file.write(index)
    file.write(_TAIL.pack(len(index), _frame_digest(head, index), _MAGIC))


def _frame_digest(head: bytes, index: bytes) -> bytes:
    return hashlib.sha256(head + struct.pack("<Q", len(index)) + index).digest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a blob lies, and what it must be.

    Attributes:
        offset: In the file.
        length: Bytes.
        sha256: In hex.
    """

    offset: int
    length: int
    sha256: str


class Container:
    """A file that `write_container` wrote, open for reading. For one thread at a time; what it returns is for any.

    Attributes:
        path: Of the file.
        kind: What the blobs are.
        meta: What was said of them.
        size_bytes: Of the file.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.size_bytes = os.fstat(file.fileno()).st_size
        index = self._read_index()
        self.kind: str = index["kind"]
        self.meta: dict[str, Any] = index["meta"]
        self._entries = {name: _Entry(*entry) for name, entry in index["blobs"].items()}
        self._check_gaps()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a file; everything but its blobs is checked.

        Raises:
            DamagedContainerError: it is not what was written.
            OSError: it is not there, or cannot be read.
        """
        with path.open("rb", buffering=0) as file:
            yield cls(path, file)

    @property
    def lengths(self) -> dict[str, int]:
        """Bytes of each blob."""
        return {name: entry.length for name, entry in self._entries.items()}

    def read(self, name: str) -> NDArray[np.uint8]:
        """Return a blob in memory; what was checked is what is returned, whatever becomes of the file.

        Raises:
            DamagedContainerError: it is not there, or not what was written.
            OSError: it cannot be read.
        """
        entry = self._entry(name)
        data = np.empty(entry.length, dtype=np.uint8)
        digest = hashlib.sha256()
        for start in range(0, entry.length, _CHUNK_BYTES):
            part = data.data[start : start + _CHUNK_BYTES]
            self._read_into(part, entry.offset + start)
            digest.update(part)
        self._compare(name, digest.hexdigest())
        return data

    def map(self, name: str) -> NDArray[np.uint8]:
        """Return a blob that stays on the disk, read-only; the array may outlive this object and the file's name.

        All of it is checked now. What the system forgets for want of memory it reads again later, and that is not
        checked; a disk that fails then ends the process.

        Raises:
            DamagedContainerError: it is not there, or not what was written.
            OSError: it cannot be read.
        """
        entry = self._entry(name)
        digest = hashlib.sha256()
        chunk = memoryview(bytearray(min(_CHUNK_BYTES, entry.length)))
        for start in range(0, entry.length, _CHUNK_BYTES):
            part = chunk[: min(_CHUNK_BYTES, entry.length - start)]
            self._read_into(part, entry.offset + start)
            digest.update(part)
        self._compare(name, digest.hexdigest())
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=np.uint8, count=entry.length, offset=entry.offset)

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError as error:
            msg = f"the file has no blob {name}"
            raise DamagedContainerError(msg) from error

    def _compare(self, name: str, found: str) -> None:
        if found != self._entries[name].sha256:
            msg = f"blob {name} is not what was written"
            raise DamagedContainerError(msg)

    def _read_index(self) -> Any:
        if self.size_bytes < _HEAD.size + _TAIL.size:
            msg = "the file is too short"
            raise DamagedContainerError(msg)
        head = self._bytes(0, _HEAD.size)
        length, digest, magic = _TAIL.unpack(self._bytes(self.size_bytes - _TAIL.size, _TAIL.size))
        if head != _HEAD.pack(_MAGIC, _FORMAT_VERSION, 0) or magic != _MAGIC:
            msg = "the file is of another kind or version, or was cut"
            raise DamagedContainerError(msg)
        if length > min(_INDEX_MAX_BYTES, self.size_bytes - _HEAD.size - _TAIL.size):
            msg = "the file's index is larger than may be"
            raise DamagedContainerError(msg)
        index = self._bytes(self.size_bytes - _TAIL.size - length, length)
        if _frame_digest(head, index) != digest:
            msg = "the file's index is not what was written"
            raise DamagedContainerError(msg)
        self._index_length = length
        return json.loads(index)

    def _check_gaps(self) -> None:
        """Check that between blobs there is nothing but zeros: no byte of the file is covered by no check."""
        end = _HEAD.size
        for entry in self._entries.values():
            if entry.offset - end not in range(_ALIGNMENT_BYTES) or any(self._bytes(end, entry.offset - end)):
                msg = "the file holds something between its blobs"
                raise DamagedContainerError(msg)
            end = entry.offset + entry.length
        if end + self._index_length + _TAIL.size != self.size_bytes:
            msg = "the file holds something after its blobs"
            raise DamagedContainerError(msg)

    def _bytes(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self._read_into(memoryview(data), offset)
        return bytes(data)

    def _read_into(self, target: memoryview, offset: int) -> None:
        while target:
            count = os.preadv(self._file.fileno(), [target], offset)
            if not count:
                msg = "the file was cut while it was read"
                raise DamagedContainerError(msg)
            target, offset = target[count:], offset + count
