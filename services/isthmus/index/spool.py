"""A backup on its way in, on a disk of this process: bounded by its own manifest before it is written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Final

from isthmus.index.backups import (
    MANIFEST_FILE,
    MANIFEST_MAX_BYTES,
    BackupManifest,
    backup_damaged,
)
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError

__all__ = ["PART_MAX_BYTES", "RESERVE_BYTES", "Spool"]

PART_MAX_BYTES: Final = 1024 * 1024
"""Of one message."""
RESERVE_BYTES: Final = 256 * 1024 * 1024
"""What is left free on the disk."""


class Spool:
    """Takes the parts of one backup in their order. Blocking; closing removes everything."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="isthmus-backup-")
        self.folder = Path(self._folder.name)
        self._manifest_data = b""
        self._manifest: BackupManifest | None = None
        self._next = 0
        self._written = 0
        self._handle: IO[bytes] | None = None

    def take(self, file: str, data: bytes) -> None:
        """Take the next part.

        Raises:
            DataLossError: BACKUP_DAMAGED; the manifest is, or there is more or something else than it says.
            InvalidArgumentError: FIELD_REQUIRED; the manifest is missing.
            ResourceExhaustedError: LIMIT_EXCEEDED, a part or the manifest is too large; DISK_FULL.
        """
        if len(data) > PART_MAX_BYTES:
            raise _too_large(field="part.data", size=len(data), limit=PART_MAX_BYTES)
        if file == MANIFEST_FILE and self._manifest is None:
            size = len(self._manifest_data) + len(data)
            if size > MANIFEST_MAX_BYTES:
                raise _too_large(field="manifest", size=size, limit=MANIFEST_MAX_BYTES)
            self._manifest_data += data
            return
        manifest = self.manifest
        told = manifest.files[self._next] if self._next < len(manifest.files) else None
        if told is None or told.name != file or self._written + len(data) > told.size:
            raise backup_damaged(problem="it is not made of the files that its manifest names, in their order")
        if self._handle is None:
            self._handle = (self.folder / file).open("wb")
        self._handle.write(data)
        self._written += len(data)
        if self._written == told.size:
            self._handle.close()
            self._handle, self._written, self._next = None, 0, self._next + 1

    @property
    def manifest(self) -> BackupManifest:
        """What the backup says of itself, once all of that is there.

        Raises:
            DataLossError: BACKUP_DAMAGED.
            InvalidArgumentError: FIELD_REQUIRED; it is missing.
            ResourceExhaustedError: DISK_FULL; what it announces has no room here.
        """
        if self._manifest is None:
            if not self._manifest_data:
                msg = f"{MANIFEST_FILE} is required, before the files"
                raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "part"})
            manifest = BackupManifest.from_json(self._manifest_data)
            size, free = sum(file.size for file in manifest.files), shutil.disk_usage(self.folder).free
            if size > max(0, free - RESERVE_BYTES):
                msg = f"the backup has {size} bytes, and the writer's temporary folder has {free} left"
                raise ResourceExhaustedError(msg, reason="DISK_FULL", metadata={"bytes": str(size), "free": str(free)})
            self._manifest = manifest
        return self._manifest

    def finish(self) -> BackupManifest:
        """Return the manifest once every file is there.

        Raises:
            DataLossError: BACKUP_DAMAGED; something is missing.
        """
        manifest = self.manifest
        if self._next < len(manifest.files):
            raise backup_damaged(problem=f"{manifest.files[self._next].name} is missing or cut")
        return manifest

    def close(self) -> None:
        """Remove everything."""
        if self._handle is not None:
            self._handle.close()
        self._folder.cleanup()


def _too_large(*, field: str, size: int, limit: int) -> ResourceExhaustedError:
    msg = f"{field} has {size} bytes; the limit is {limit}"
    metadata = {"field": field, "limit": str(limit), "bytes": str(size)}
    return ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
