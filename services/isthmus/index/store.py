"""A collection's event table as the writer and the searchers see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.index.completeness import check_complete
from isthmus.index.events import (
    VERIFIED_COLUMNS,
    Event,
    Op,
    events_to_table,
    verify_rows,
    verify_thumbnails,
)
from isthmus.index.folding import EventHeads, find_heads, fold_table, rows_of
from isthmus.index.table import AppendTable, TableView

__all__ = ["LOAD_COLUMNS", "EventHeads", "EventTable", "EventView", "News"]

LOAD_COLUMNS: Final = (*VERIFIED_COLUMNS, "row_digest")
"""Everything but thumbnails."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened to a collection above a revision.

    Attributes:
        events: Verified, oldest first, without thumbnails.
        heads: What counts now, when events above the revision were folded away: an item that is not there any more was
            deleted, even if no event says so. None while `events` are all that happened.
    """

    events: pa.Table
    heads: EventHeads | None


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

    @property
    def rows(self) -> int:
        """Events that are there, those that count no more among them. Cheap."""
        return self._view.rows

    def heads(self) -> EventHeads:
        """Find the newest event of every id, and the newest SETTINGS, SHADOW and FOLD events.

        Raises:
            DataLossError: STORE_DAMAGED; an event is missing.
        """
        return find_heads(self._view)[0]

    def scan(self, columns: Sequence[str], *, op: Op | None = None) -> Iterator[pa.RecordBatch]:
        """Yield every event, or those of one kind, in no particular order, with its row id."""
        return self._view.scan(columns, where=None if op is None else f"op = {op.value}")

    def since(self, revision: int, *, known_fragment_ids: frozenset[int]) -> News:
        """Return what happened above `revision`.

        Args:
            revision: What the reader has seen.
            known_fragment_ids: Files that hold nothing newer; spared a look.

        Raises:
            DataLossError: STORE_DAMAGED.
        """
        fresh = self.fragment_ids - known_fragment_ids
        batches = self._view.scan(LOAD_COLUMNS, fragment_ids=fresh, where=f"revision > {revision}")
        rows = rows_of(batches, LOAD_COLUMNS)
        verify_rows(rows)
        is_fold = rows["op"].to_numpy() == Op.FOLD
        rows = rows.take(pa.array(np.argsort(rows["revision"].to_numpy(), kind="stable")))
        if not is_fold.any():
            check_complete(rows, above=revision)
            return News(rows, None)
        # Events that this reader has not seen were folded away: only the table as a whole can be checked.
        return News(rows.filter(pc.not_equal(rows["op"], Op.FOLD.value)), self.heads())

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
        return cls.create_of(uri, events_to_table([first]), durable=durable, storage_options=storage_options)

    @classmethod
    def create_of(
        cls, uri: str, rows: pa.Table, *, durable: bool, storage_options: dict[str, str] | None = None
    ) -> EventTable:
        """Make a table of events that were made already, all that it needs to be whole.

        Raises:
            OSError: it cannot be written.
        """
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

    def fold(self, *, request_ids_count: int, least_dead: int, erased: int = 0) -> int:
        """Take out every event that does not count any more, in one durable commit; may run beside `append`.

        Args:
            request_ids_count: Mutations whose answer is kept.
            least_dead: Events that must be gone for it to be worth it.
            erased: Revision up to which items are erased; above what was said before, it is worth it in any case.

        Returns:
            Events that were taken out; 0 when it was not worth it, or a claim came between.
        """
        return fold_table(self._table, request_ids_count=request_ids_count, least_dead=least_dead, erased=erased)

    def purge(self, *, check: Callable[[], None], pin: str) -> None:
        """Leave no byte of events that were folded; see `AppendTable.purge`."""
        self._table.purge(check=check, pin=pin)

    @property
    def is_local(self) -> bool:
        """True in a folder, which a lock keeps for one writer."""
        return self._table.is_local

    def latest_version(self) -> int:
        """Return the newest version that the store holds now; see `AppendTable.latest_version`."""
        return self._table.latest_version()

    def maintain(self, *, fan_out: int, keep_versions_s: float) -> int:
        """Merge small files; see `AppendTable.maintain`."""
        return self._table.maintain(fan_out=fan_out, keep_versions_s=keep_versions_s)
