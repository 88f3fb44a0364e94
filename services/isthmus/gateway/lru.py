"""The in-process cache: least recently used rows go first, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from isthmus.gateway.domain import Row

__all__ = ["RowCache"]

_ENTRY_BYTES: Final = 240
"""What an entry takes besides its row: key, Row, bytes object, slot of the dictionary (tracemalloc: 221)."""


class RowCache:
    """Rows by key.

    Args:
        max_bytes: What all entries together may take; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rows: OrderedDict[bytes, Row] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size_bytes(self) -> int:
        """What the entries take."""
        return self._bytes

    def get(self, key: bytes) -> Row | None:
        """Return the row under `key`, which is then the most recently used, or None."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: bytes, row: Row) -> None:
        """Keep `row` under `key`; drop what was not used for longest until the bound holds."""
        if key in self._rows:
            self.drop(key)
        self._rows[key] = row
        self._bytes += len(row.data) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            _, oldest = self._rows.popitem(last=False)
            self._bytes -= len(oldest.data) + _ENTRY_BYTES

    def drop(self, key: bytes) -> None:
        """Forget `key`, if it is there."""
        row = self._rows.pop(key, None)
        if row is not None:
            self._bytes -= len(row.data) + _ENTRY_BYTES
