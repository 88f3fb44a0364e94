"""A collection's event table as the writer and the searchers see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.index.completeness import check_complete
from isthmus.index.events import (
    EVENT_SCHEMA,
    SHADOW_ID,
    VERIFIED_COLUMNS,
    Event,
    Op,
    events_to_table,
    verify_rows,
    verify_thumbnails,
)
from isthmus.index.table import ROW_ID, AppendTable, TableView

__all__ = ["LOAD_COLUMNS", "EventHeads", "EventTable", "EventView"]

LOAD_COLUMNS: Final = (*VERIFIED_COLUMNS, "row_digest")
"""Everything but thumbnails."""

_HEAD_COLUMNS: Final = ("revision", "op", "id", "answer")


@dataclass(frozen=True, slots=True)
class EventHeads:
    """Which rows of a table count at its version.

    Attributes:
        revision: The newest.
        item_rows: (n,) sorted row ids of the items that are there.
        settings_row: Row id of the newest SETTINGS event.
        shadow_row: Row id of the newest SHADOW event; None when there was none.
    """

    revision: int
    item_rows: NDArray[np.int64]
    settings_row: int
    shadow_row: int | None


class EventView:
    """The events at one version of the store. Immutable, safe to use from any thread."""

    def __init__(self, view: TableView) -> None:
        self._view = view

    @property
    def version(self) -> int:
        """Lance's version of the table."""
        return self._view.version

    @property
    def fragment_ids(self) -> frozenset[int]:
        """The files it is made of."""
        return self._view.fragment_ids

    def latest_version(self) -> int:
        """Return the newest version in the store; anything above `version` may hold news."""
        return self._view.latest_version()

    def heads(self) -> EventHeads:
        """Find the newest event of every id, and the newest SETTINGS and SHADOW events.

        Raises:
            DataLossError: STORE_DAMAGED; an event is missing.
        """
        rows = _table(self._view.scan(_HEAD_COLUMNS), _HEAD_COLUMNS)
        check_complete(rows)
        revisions = rows["revision"].to_numpy()
        order = np.argsort(revisions, kind="stable")
        rows = rows.take(pa.array(order))
        ops, row_ids = rows["op"].to_numpy(), rows[ROW_ID].to_numpy().astype(np.int64)
        # A dict keeps the last value of a key: the newest event of the id. No id is there twice in one revision.
        newest = dict(zip(rows["id"].to_pylist(), range(rows.num_rows), strict=True))
        settings = newest.pop("")  # only SETTINGS events have no id
        shadow = newest.pop(SHADOW_ID, None)
        places = np.fromiter(newest.values(), dtype=np.int64, count=len(newest))
        live = row_ids[places[ops[places] == Op.UPSERT]]
        return EventHeads(
            revision=int(revisions.max()),
            item_rows=np.sort(live),
            settings_row=int(row_ids[settings]),
            shadow_row=None if shadow is None else int(row_ids[shadow]),
        )

    def scan(self, columns: Sequence[str], *, op: Op | None = None) -> Iterator[pa.RecordBatch]:
        """Yield every event, or those of one kind, in no particular order, with its row id."""
        return self._view.scan(columns, where=None if op is None else f"op = {op.value}")

    def since(self, revision: int, *, known_fragment_ids: frozenset[int]) -> pa.Table:
        """Return the verified events above `revision`, oldest first, without thumbnails.

        Args:
            revision: What the reader has seen.
            known_fragment_ids: Files that hold nothing newer; spared a look.

        Raises:
            DataLossError: STORE_DAMAGED.
        """
        fresh = self.fragment_ids - known_fragment_ids
        rows = _table(self._view.scan(LOAD_COLUMNS, fragment_ids=fresh, where=f"revision > {revision}"), LOAD_COLUMNS)
        verify_rows(rows)
        check_complete(rows, above=revision)
        return rows.take(pa.array(np.argsort(rows["revision"].to_numpy(), kind="stable")))

    def take(self, row_ids: NDArray[np.int64], *, thumbnails: bool = False) -> pa.Table:
        """Return verified events by row id, in the order asked.

        Raises:
            DataLossError: STORE_DAMAGED.
            LookupError: a row is not there.
        """
        columns = (*LOAD_COLUMNS, "thumbnail") if thumbnails else LOAD_COLUMNS
        rows = self._view.take(row_ids, columns)
        verify_rows(rows)
        if thumbnails:
            verify_thumbnails(rows)
        return rows


class EventTable:
    """A collection's event table, open."""

    def __init__(self, table: AppendTable) -> None:
        self._table = table

    @classmethod
    def create(
        cls, uri: str, first: Event, *, durable: bool, storage_options: dict[str, str] | None = None
    ) -> EventTable:
        """Make a table that holds its first event.

        Raises:
            OSError: it cannot be written.
        """
        rows = events_to_table([first])
        return cls(AppendTable.create(uri, rows, durable=durable, storage_options=storage_options))

    @classmethod
    def open(cls, uri: str, *, durable: bool, storage_options: dict[str, str] | None = None) -> EventTable:
        """Open a table.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
        """
        return cls(AppendTable.open(uri, durable=durable, storage_options=storage_options))

    @property
    def version(self) -> int:
        """Lance's version that this process wrote last, or opened."""
        return self._table.version

    def append(self, events: Sequence[Event]) -> None:
        """Append events in one durable commit; see `AppendTable.append`."""
        self._table.append(events_to_table(events))

    def claim(self, *, check: Callable[[], None], pin: str) -> None:
        """Be the only process whose appends are committed; see `AppendTable.claim`."""
        self._table.claim(check=check, pin=pin)

    def view(self) -> EventView:
        """Return the events as they are in the store now."""
        return EventView(self._table.view())

    def maintain(self, *, fan_out: int, keep_versions_s: float) -> int:
        """Merge small files; see `AppendTable.maintain`."""
        return self._table.maintain(fan_out=fan_out, keep_versions_s=keep_versions_s)


def _table(batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> pa.Table:
    fields = [*(EVENT_SCHEMA.field(name) for name in columns), pa.field(ROW_ID, pa.uint64())]
    return pa.Table.from_batches(list(batches), schema=pa.schema(fields))
