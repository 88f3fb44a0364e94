"""A backup on its way out: copied to a disk of this process at once, then sent as quickly as it is taken."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from isthmus.index.backups import MANIFEST_FILE, BackupManifest, write_backup
from isthmus.index.follower import Follower
from isthmus.index.snapshot import Snapshot
from isthmus.index.spool import PART_MAX_BYTES
from isthmus.runtime.base.errors import ResourceExhaustedError, UnavailableError

__all__ = ["BACKUPS_MAX_COUNT", "BackupStreams"]

BACKUPS_MAX_COUNT: Final = 2
"""Backups that one searcher makes at once; each takes as much of its disk as the collection has."""


class BackupStreams:
    """Makes backups. On the event loop."""

    def __init__(self) -> None:
        self._running = 0

    async def stream(self, follower: Follower, snapshot: Snapshot) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield the parts of a backup: the manifest, then its files, each part with its file's name.

        Args:
            follower: Of the collection.
            snapshot: Names the revision; where its version is cleaned up by now, the newest one is copied.

        Raises:
            ResourceExhaustedError: OVERLOADED; as many backups are running as may.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be read.
            DataLossError: STORE_DAMAGED.
        """
        if self._running >= BACKUPS_MAX_COUNT:
            msg = f"{self._running} backups are being made already"
            raise ResourceExhaustedError(msg, reason="OVERLOADED", metadata={"limit": str(BACKUPS_MAX_COUNT)})
        self._running += 1
        folder = Path(tempfile.mkdtemp(prefix="isthmus-backup-"))
        try:
            manifest = await asyncio.to_thread(_copy, follower, snapshot, folder)
            data = manifest.to_json()
            for start in range(0, len(data), PART_MAX_BYTES):
                yield MANIFEST_FILE, data[start : start + PART_MAX_BYTES]
            for file in manifest.files:
                with (folder / file.name).open("rb") as handle:
                    while part := await asyncio.to_thread(handle.read, PART_MAX_BYTES):
                        yield file.name, part
        finally:
            self._running -= 1
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _copy(follower: Follower, snapshot: Snapshot, folder: Path) -> BackupManifest:
    for newest in (False, True):
        try:
            view = follower.fresh_view() if newest else snapshot.view
            return write_backup(
                view,
                folder,
                name=snapshot.name,
                uid=follower.entry.uuid,
                settings=snapshot.settings,
            )
        except (OSError, ValueError) as error:
            if newest:
                msg = "the collection's store cannot be copied"
                raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error
    raise AssertionError
