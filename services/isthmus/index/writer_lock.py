"""A lock on a file, for stores in a local folder: a second writer there is refused before it takes an epoch."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from isthmus.runtime.base.errors import UnavailableError

__all__ = ["WriterLock"]


class WriterLock:
    """Holds a store for this writer until it is released or the process dies, however it dies.

    Args:
        store_dir: Made when absent.
    """

    def __init__(self, store_dir: Path) -> None:
        self._path = store_dir / "writer.lock"
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UnavailableError: NOT_READY; another writer holds it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            msg = "another writer holds this store"
            raise UnavailableError(msg, reason="NOT_READY") from error
        self._file = file

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None
