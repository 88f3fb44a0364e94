"""Refuse to write while the disk has room yet: what is being written must end, and deleting needs room too."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

from isthmus.runtime.base.errors import ResourceExhaustedError

__all__ = ["DiskSpace", "disk_full", "is_disk_full"]

_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_LANCE_ERRNO: Final = re.compile(r"\(os error (\d+)\)")


class DiskSpace:
    """The disk below a store.

    Args:
        folder: Of the store; None for an object store, which has no end.
        reserve_bytes: What writers of items leave free.
    """

    def __init__(self, folder: Path | None, *, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes

    def check(self) -> None:
        """Refuse when less than the reserve is free. Quick: one system call.

        Raises:
            ResourceExhaustedError: DISK_FULL.
        """
        if self._folder is None:
            return
        found = os.statvfs(self._folder)
        if found.f_bavail * found.f_frsize < self._reserve_bytes:
            raise disk_full()


def is_disk_full(error: BaseException | None) -> bool:
    """Return True when an error, or one that led to it, says that the disk or the quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ERRNOS:
            return True
        if any(int(number) in _ERRNOS for number in _LANCE_ERRNO.findall(str(error))):
            return True
        error = error.__cause__
    return False


def disk_full() -> ResourceExhaustedError:
    """Return DISK_FULL. It says nothing of when to try again: somebody has to make room."""
    msg = "the store's disk is full; nothing was acknowledged: make room, then repeat it with the same request_id"
    return ResourceExhaustedError(msg, reason="DISK_FULL")
