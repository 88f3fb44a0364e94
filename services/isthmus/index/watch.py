"""Notice cheaply that a table may have changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

__all__ = ["ChangeHint"]

_FRESH_NS: Final = 50_000_000
"""Two commits this close may leave one time stamp on the folder."""
_BLIND_MAX_S: Final = 1.0
"""How long a time stamp is believed, for file systems that cache it."""
_UNKNOWN: Final = -1


class ChangeHint:
    """Says "nothing new" of a table in a local folder by one look at a time stamp; of any other table it knows nothing.

    Read `stamp`, then read the table, then `settle` the stamp: until then the hint does not keep quiet.

    Args:
        uri: Of the table.
    """

    def __init__(self, uri: str) -> None:
        self._versions = None if "://" in uri else Path(uri) / "_versions"
        self._settled_ns = _UNKNOWN
        self._settled_s = 0.0

    def stamp(self) -> int:
        """Return the time stamp of the last commit, in nanoseconds; -1 where it is unknown."""
        try:
            return _UNKNOWN if self._versions is None else self._versions.stat().st_mtime_ns
        except OSError:
            return _UNKNOWN

    def settle(self, stamp: int) -> None:
        """Say that the table was read after `stamp` was."""
        # A stamp this fresh may stand for another commit that is still to come.
        self._settled_ns = stamp if time.time_ns() - stamp > _FRESH_NS else _UNKNOWN
        self._settled_s = time.monotonic()

    def may_have_changed(self) -> bool:
        """Return False only when the table is as it was when it was last read."""
        if self._settled_ns == _UNKNOWN or time.monotonic() - self._settled_s > _BLIND_MAX_S:
            return True
        return self.stamp() != self._settled_ns
