"""The staging folder of a job: files of rows, and beside them a record a block, written whole or not at all.

The records are the job's journal. One says `staged` once the block's files are on the disk, `done` once the writer has
acknowledged them; what has none was never finished and is done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from pyarrow import fs

from isthmus.bulk.blocks import Refusal, open_store
from isthmus.runtime.base.import_rows import IMPORT_SUFFIX, ImportRow, ImportRows, pack_rows, unpack_rows
from isthmus.runtime.base.limits import IMPORT_FILE_MAX_BYTES, IMPORT_FILE_MAX_ROWS

__all__ = ["BlockRecord", "StagedFile", "Staging", "StagingBusyError"]

_RECORD_SUFFIX: Final = ".json"
_ROW_SPARE_BYTES: Final = 512
"""What a row takes beside its embedding, its attributes and its keys."""


class StagingBusyError(Exception):
    """Another process runs the same job."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of rows.

    Attributes:
        name: Without suffix.
        digest: SHA-256 of its bytes, in hexadecimal digits.
    """

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """What is known of one block."""

    key: str
    state: Literal["staged", "done"]
    files: Sequence[StagedFile] = ()
    rows: int
    """Rows of the source."""
    images: int = 0
    texts: int = 0
    truncated: int = 0
    refused: int = 0
    refusals: Sequence[Refusal] = ()
    probe: Sequence[str] = ()
    """Ids of two of its items, by which a collection shows that it has the block."""
    generation: int = 0
    """How often it was found to be missing after it was done."""
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    revision: int = 0

    def to_json(self) -> bytes:
        """Return the record as it is kept."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(data)
        files = [StagedFile(**file) for file in document.pop("files")]
        refusals = [Refusal(**refusal) for refusal in document.pop("refusals")]
        return cls(**document, files=files, refusals=refusals)


@dataclass(slots=True)
class Staging:
    """The folder of one job, here or in an object store. Travels to workers.

    Attributes:
        location: Of the folder that the writer imports from, the tenant's part.
        job: Name of the job's folder in it.
    """

    location: str
    job: str
    _system: fs.FileSystem | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> tuple[str, str]:
        return self.location, self.job

    def __setstate__(self, state: tuple[str, str]) -> None:
        self.location, self.job = state
        self._system = None

    def lock(self) -> int:
        """Make the folder, and hold it while this process lives; return what holds it.

        Raises:
            StagingBusyError: another process holds it.
            OSError: it cannot be made.
        """
        system, path = self._open()
        system.create_dir(path, recursive=True)
        if not isinstance(system, fs.LocalFileSystem):
            return -1  # an object store has no locks: two of the same job do the same work, once
        handle = os.open(Path(path) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise StagingBusyError(self.job) from error
        return handle

    def records(self) -> Iterator[BlockRecord]:
        """Yield what is known of blocks."""
        system, path = self._open()
        for info in system.get_file_info(fs.FileSelector(path)):
            if info.type is fs.FileType.File and info.path.endswith(_RECORD_SUFFIX):
                yield BlockRecord.from_json(self._read(info.base_name))

    def stage(self, record: BlockRecord, content: ImportRows) -> BlockRecord:
        """Write a block's rows, then its record; it says which files they are."""
        files = []
        for number, some in enumerate(_pieces(content.rows)):
            data = pack_rows(ImportRows(spaces=content.spaces, rows=some))
            name = f"{record.key}-{number}"
            self._write(f"{name}{IMPORT_SUFFIX}", data)
            files.append(StagedFile(name, hashlib.sha256(data).hexdigest()))
        staged = replace(record, state="staged", files=files)
        self.record(staged)
        return staged

    def record(self, record: BlockRecord) -> None:
        """Write down what is known of a block."""
        self._write(f"{record.key}{_RECORD_SUFFIX}", record.to_json())

    def is_whole(self, record: BlockRecord) -> bool:
        """Return True when a block's files are there as they were written."""
        try:
            return all(
                hashlib.sha256(self._read(f"{file.name}{IMPORT_SUFFIX}")).hexdigest() == file.digest
                for file in record.files
            )
        except OSError:
            return False

    def ids(self, file: StagedFile) -> list[str]:
        """Return the ids of a file's rows."""
        data = self._read(f"{file.name}{IMPORT_SUFFIX}")
        return [row.id for row in unpack_rows(data, digest=bytes.fromhex(file.digest)).rows]

    def remove(self, record: BlockRecord) -> None:
        """Remove a block's files; its record stays."""
        system, path = self._open()
        for file in record.files:
            system.delete_file(f"{path}/{file.name}{IMPORT_SUFFIX}")

    def sweep(self) -> None:
        """Remove files of rows that nobody needs once every block is done: a kill may have left some."""
        system, path = self._open()
        for info in system.get_file_info(fs.FileSelector(path)):
            if info.type is fs.FileType.File and IMPORT_SUFFIX in info.base_name:
                system.delete_file(info.path)

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self._system is None:
            self._system, _ = open_store(self.location)
        _, root = open_store(self.location) if "://" not in self.location else (None, self.location.split("://", 1)[1])
        return self._system, f"{root.rstrip('/')}/{self.job}"

    def _read(self, name: str) -> bytes:
        system, path = self._open()
        with system.open_input_file(f"{path}/{name}") as file:
            data: bytes = file.read()
        return data

    def _write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all: in a folder by a synced file that is renamed, in a store by one PUT."""
        system, path = self._open()
        if not isinstance(system, fs.LocalFileSystem):
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(data)
            return
        folder = Path(path)
        part = folder / f".{name}.{os.getpid()}"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _pieces(rows: Sequence[ImportRow]) -> Iterator[Sequence[ImportRow]]:
    """Cut rows into runs that a file may hold."""
    run: list[ImportRow] = []
    size = 0
    for row in rows:
        told = sum(len(value.encode()) for value in row.attributes.values() if isinstance(value, str))
        takes = len(row.embedding) + 2 * told + _ROW_SPARE_BYTES
        if run and (len(run) == IMPORT_FILE_MAX_ROWS or size + takes > IMPORT_FILE_MAX_BYTES // 2):
            yield run
            run, size = [], 0
        run.append(row)
        size += takes
    if run:
        yield run
