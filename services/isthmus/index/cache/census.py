"""Who is who in a collection's event table: what a cached row is compared with before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.index.events import EVENT_SCHEMA, Op, verify_rows
from isthmus.index.folds import Fold
from isthmus.index.membership import in_sorted
from isthmus.index.store import LOAD_COLUMNS, EventView
from isthmus.index.table import ROW_ID

__all__ = ["CENSUS_COLUMNS", "Census"]

CENSUS_COLUMNS: Final = ("id", "revision", "row_digest")
"""What tells an event from any other, beside its row id."""

_TAKE_MAX_ROWS: Final = 1_024
"""Rows that are quicker looked up one by one than by reading all."""


@dataclass(frozen=True, slots=True)
class Census:
    """Every event of a table at one version.

    Attributes:
        view: The table.
        rows: (n,) with CENSUS_COLUMNS and `op`, in the order of `row_ids`.
        row_ids: (n,) ascending.
    """

    view: EventView
    rows: pa.Table
    row_ids: NDArray[np.int64]

    @classmethod
    def of(cls, view: EventView) -> Self:
        """Read a table's columns that are needed, and no vector.

        Raises:
            DataLossError: STORE_DAMAGED.
            OSError: it cannot be read.
        """
        names = (*CENSUS_COLUMNS, "op")
        fields = [*(EVENT_SCHEMA.field(name) for name in names), pa.field(ROW_ID, pa.uint64())]
        rows = pa.Table.from_batches(list(view.scan(names)), schema=pa.schema(fields)).combine_chunks()
        row_ids = rows[ROW_ID].to_numpy().astype(np.int64)
        order = np.argsort(row_ids)
        return cls(view, rows.take(pa.array(order)), row_ids[order])

    def find(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each row id, -1 where the table has none such."""
        places = np.minimum(np.searchsorted(self.row_ids, row_ids), len(self.row_ids) - 1)
        return np.where(self.row_ids[places] == row_ids, places, -1)

    def match(self, items: pa.Table, *, fold: Fold | None) -> NDArray[np.int64] | None:
        """Return the place of each of these items, -1 where the table has it no more for it was folded away.

        Args:
            items: With CENSUS_COLUMNS and row ids.
            fold: Of the table. What was erased must not be kept, so an item is not known that may have been.

        Returns:
            None when an item is not known: the table has another event under its row id, or no event and no reason.
        """
        places = self.find(items[ROW_ID].to_numpy().astype(np.int64))
        is_there = places >= 0
        missing = items["revision"].to_numpy()[~is_there]
        if len(missing) and (fold is None or missing.min() <= fold.erased or missing.max() > fold.revision):
            return None
        items = items.filter(pa.array(is_there))
        stored = self.rows.take(pa.array(places[is_there]))
        upserts = pc.equal(stored["op"], Op.UPSERT.value)
        equal = (pc.equal(stored[name], items[name].cast(stored[name].type)) for name in CENSUS_COLUMNS)
        same = all(bool(pc.all(column, min_count=0).as_py()) for column in (upserts, *equal))
        return places if same else None

    def digests(self, row_ids: NDArray[np.int64]) -> pa.Array:
        """Return the digests of rows that are in the table, in the order asked."""
        return self.rows["row_digest"].take(pa.array(self.find(row_ids))).combine_chunks()

    def read(self, row_ids: NDArray[np.int64]) -> Iterator[pa.Table]:
        """Yield the rows with these ids, verified, in no particular order.

        Args:
            row_ids: Ascending.

        Raises:
            DataLossError: STORE_DAMAGED.
            OSError: the table cannot be read.
        """
        if not len(row_ids):
            return
        if len(row_ids) <= _TAKE_MAX_ROWS:
            yield self.view.take(row_ids)
            return
        for batch in self.view.scan(LOAD_COLUMNS):
            # A batch is small beside what is wanted: `np.isin` would sort all of that for each of them.
            found = in_sorted(batch.column(ROW_ID).to_numpy(), row_ids)
            rows = pa.Table.from_batches([batch]).take(pa.array(np.flatnonzero(found)))
            verify_rows(rows)
            yield rows
