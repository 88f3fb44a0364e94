"""A backup in a folder of this machine: written as it comes, the manifest last, and read as it is to be sent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from isthmus.client.backups.results import Backup, RestoreResult
from isthmus.client.channel import new_request_id
from isthmus.client.collections import decode
from isthmus.client.errors import DataLossError
from isthmus.v1 import backup_pb2, gateway_service_pb2

__all__ = ["MANIFEST_FILE", "BackupWriter", "backup_files", "restore_requests", "restore_result"]

MANIFEST_FILE: Final = "manifest.json"
_PART_BYTES: Final = 1024 * 1024


class BackupWriter:
    """Writes the parts of a backup into a folder that is empty or not there yet.

    Args:
        folder: Where.

    Raises:
        FileExistsError: there is something in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            msg = "the folder of a backup must be empty"
            raise FileExistsError(msg)
        self._manifest = b""
        self._digests: dict[str, str] = {}
        self._name = ""
        self._handle: IO[bytes] | None = None
        self._digest = hashlib.sha256()

    def take(self, part: backup_pb2.BackupPart) -> None:
        """Write the next part.

        Raises:
            OSError: it cannot be written.
        """
        if part.file == MANIFEST_FILE:
            self._manifest += part.data
            return
        if part.file != self._name:
            self._close()
            self._name = Path(part.file).name
            self._handle, self._digest = (self._folder / self._name).open("xb"), hashlib.sha256()
        assert self._handle is not None
        self._handle.write(part.data)
        self._digest.update(part.data)

    def finish(self) -> Backup:
        """Check the sums and write the manifest: a folder without one is no backup.

        Raises:
            DataLossError: BACKUP_DAMAGED; something was lost on the way.
            OSError: it cannot be written.
        """
        self._close()
        document = _parsed(self._manifest)
        if self._digests != {file["name"]: file["digest"] for file in document["files"]}:
            raise _damaged()
        with (self._folder / MANIFEST_FILE).open("xb") as handle:
            handle.write(self._manifest)
            handle.flush()
            os.fsync(handle.fileno())
        return _backup(document)

    def close(self) -> None:
        """Let go of what is open, after a failure."""
        if self._handle is not None:
            self._handle.close()

    def _close(self) -> None:
        if self._handle is not None:
            self._handle.flush()
            os.fsync(self._handle.fileno())
            self._handle.close()
            self._digests[self._name], self._handle = self._digest.hexdigest(), None


def backup_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the files that the manifest in a folder names.

    Raises:
        DataLossError: BACKUP_DAMAGED; it cannot be read.
        OSError: there is none.
    """
    document = _parsed((Path(folder) / MANIFEST_FILE).read_bytes())
    return [Path(file["name"]).name for file in document["files"]]


def restore_requests(
    folder: str | os.PathLike[str], *, collection: str, to_revision: int, request_id: str | None
) -> Iterator[gateway_service_pb2.RestoreCollectionRequest]:
    """Yield the messages of a restore.

    Raises:
        DataLossError: BACKUP_DAMAGED.
        OSError: a file cannot be read.
    """
    root = Path(folder)
    document = _parsed((root / MANIFEST_FILE).read_bytes())
    first = gateway_service_pb2.RestoreCollectionRequest(
        collection=collection or document["name"],
        to_revision=to_revision,
        request_id=request_id or new_request_id(),
    )
    for name in (MANIFEST_FILE, *(file["name"] for file in document["files"])):
        with (root / Path(name).name).open("rb") as handle:
            while data := handle.read(_PART_BYTES):
                request, first = first, gateway_service_pb2.RestoreCollectionRequest()
                request.part.CopyFrom(backup_pb2.BackupPart(file=name, data=data))
                yield request


def restore_result(answer: gateway_service_pb2.RestoreCollectionResponse) -> RestoreResult:
    """Return what a restore did."""
    return RestoreResult(
        collection=decode.collection(answer.collection),
        restored_revision=answer.restored_revision,
        created=answer.created_count,
        updated=answer.updated_count,
        deleted=answer.deleted_count,
        unchanged=answer.unchanged_count,
    )


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(data)
        _backup(document)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged() from error
    return document


def _backup(document: dict[str, Any]) -> Backup:
    return Backup(
        collection=document["name"],
        revision=document["revision"],
        oldest_revision=document["oldest_revision"],
        images=document["image_count"],
        texts=document["text_count"],
        aligner=document["aligner"],
        files=len(document["files"]),
        bytes=sum(file["size"] for file in document["files"]),
    )


def _damaged() -> DataLossError:
    msg = "the backup is damaged: its files do not match its manifest"
    return DataLossError(msg, code="DATA_LOSS", reason="BACKUP_DAMAGED")
