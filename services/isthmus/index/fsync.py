"""Make what Lance wrote survive a power loss.

Lance's local writer makes no promise to sync. An acknowledgement therefore waits until the new data file, the folder
that names it, the new manifest and its folder are on the disk, in that order: a manifest never reaches the disk before
the data it speaks of. On an object store a finished write is durable by itself, and nothing is done here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from isthmus.index.file_sums import DATA

__all__ = ["StoreSync"]

_LAST_VERSION = 2**64 - 1


class StoreSync:
    """Syncs the files of one Lance table.

    Args:
        uri: Where the table lies.
        enabled: False leaves syncing to the operating system.
    """

    def __init__(self, uri: str, *, enabled: bool) -> None:
        self._root = Path(uri) if enabled and "://" not in uri else None
        self._named: set[str] = set()

    def data_files(self, names: Iterable[str], *, folder: str = DATA) -> None:
        """Sync new files and the folder that names them."""
        if self._root is None:
            return
        for name in names:
            _sync(self._root / folder / name)
        if (self._root / folder).exists():  # an empty table has none yet
            _sync(self._root / folder)
            if folder not in self._named:  # the first file of its kind made the folder
                _sync(self._root)
                self._named.add(folder)

    def manifest(self, version: int) -> None:
        """Sync the manifest of `version` and the folder that names it."""
        if self._root is None:
            return
        folder = self._root / "_versions"
        # Lance names manifests so that the newest sorts first.
        _sync(folder / f"{_LAST_VERSION - version:020d}.manifest")
        _sync(folder)

    def new_table(self) -> None:
        """Sync the folders above a table that was just made, up to the store."""
        if self._root is None:
            return
        for folder in (self._root, self._root.parent, self._root.parent.parent):
            _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
