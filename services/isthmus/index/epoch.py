"""The writer's epoch: which of all writers that ever opened a store is the last.

The epoch is the version of a table without rows, `epoch.lance`: to claim it is one conditional commit, so that no two
writers have one epoch. It says who is the last; what keeps the others from writing is the claim that the last one lays
on every table (`AppendTable.claim`).
"""

from __future__ import annotations

import time
from typing import Final

import pyarrow as pa

from isthmus.index.catalog import StorePaths
from isthmus.index.superseded import SupersededError
from isthmus.index.table import AppendTable

__all__ = ["WriterEpoch"]

_SCHEMA: Final = pa.schema([pa.field("unused", pa.int8())])


class WriterEpoch:
    """This writer's turn at a store. Blocking; for any thread once it is taken.

    Args:
        table: Of the store.
        number: Its version at which this writer claimed it.
    """

    def __init__(self, table: AppendTable, number: int) -> None:
        self._table = table
        self.number = number
        self._superseded_s: float | None = None

    @classmethod
    def take(cls, paths: StorePaths, *, durable: bool, keep_versions_s: float) -> WriterEpoch:
        """Become the last writer of a store.

        Raises:
            OSError: the store cannot be read or written.
        """
        uri, options = paths.epoch, paths.storage_options
        try:
            table = AppendTable.open(uri, durable=durable, storage_options=options)
        except FileNotFoundError:
            try:
                table = AppendTable.create(uri, _SCHEMA.empty_table(), durable=durable, storage_options=options)
            except OSError:  # another writer was quicker, or there will be nothing to open
                table = AppendTable.open(uri, durable=durable, storage_options=options)
        table.claim()
        table.clean_up(keep_versions_s)
        return cls(table, table.version)

    @property
    def pin(self) -> str:
        """Return the name of this writer's claims."""
        return f"epoch-{self.number}"

    @property
    def superseded(self) -> bool:
        """True once this writer knows of a later one."""
        return self._superseded_s is not None

    @property
    def superseded_s(self) -> float | None:
        """Return since when, on the clock of `time.monotonic`; None while it knows of none."""
        return self._superseded_s

    def lose(self) -> None:
        """Know that a later writer has laid its claim on a table."""
        if self._superseded_s is None:
            self._superseded_s = time.monotonic()

    def check(self) -> None:
        """Make sure that no other writer has taken the store before this call. One request to an object store.

        Raises:
            SupersededError: another one has.
            OSError: the store cannot be read.
        """
        if self.superseded or self._table.latest_version() != self.number:
            self.lose()
            raise SupersededError
