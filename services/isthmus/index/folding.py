"""Find which events of a table count, and take out those that do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.index.completeness import check_whole
from isthmus.index.events import (
    EVENT_SCHEMA,
    FOLD_ID,
    VERIFIED_COLUMNS,
    Answer,
    Event,
    Op,
    events_to_table,
    verify_rows,
)
from isthmus.index.folds import Fold, FoldedAnswer, digest_sums
from isthmus.index.table import ROW_ADDRESS, ROW_ID, AppendTable, Replacement, TableView
from isthmus.runtime.base.errors import DataLossError

__all__ = ["EventHeads", "find_heads", "fold_table", "rows_of"]

_HEAD_COLUMNS: Final = ("revision", "op", "id", "answer", "row_digest")
_FOLD_COLUMNS: Final = (*_HEAD_COLUMNS, "request_id")


@dataclass(frozen=True, slots=True)
class EventHeads:
    """Which rows of a table count at its version.

    Attributes:
        revision: The newest.
        item_rows: (n,) sorted row ids of the items that are there.
        settings_row: Row id of the newest SETTINGS event.
        shadow_row: Row id of the newest SHADOW event; None when there was none.
        fold: What the table's FOLD event says; None when it was never folded.
    """

    revision: int
    item_rows: NDArray[np.int64]
    settings_row: int
    shadow_row: int | None
    fold: Fold | None


def find_heads(view: TableView, columns: Sequence[str] = _HEAD_COLUMNS) -> tuple[EventHeads, pa.Table]:
    """Find the newest event of every id, and the newest SETTINGS, SHADOW and FOLD events.

    Args:
        view: Of the table.
        columns: To return of all events, those that this needs among them.

    Returns:
        What counts, and all events, oldest first, with their row ids and addresses.

    Raises:
        DataLossError: STORE_DAMAGED; an event is missing.
    """
    rows = rows_of(view.scan(columns, addresses=True), (*columns, ROW_ADDRESS))
    fold = _read_fold(view, rows)
    check_whole(rows, fold=fold)
    rows = rows.take(pa.array(np.argsort(rows["revision"].to_numpy(), kind="stable")))
    ops, row_ids = rows["op"].to_numpy(), rows[ROW_ID].to_numpy().astype(np.int64)
    coded = rows["id"].combine_chunks().dictionary_encode()
    newest = np.empty(len(coded.dictionary), dtype=np.int64)
    # Of places that are given twice the last one stays: the newest event of the id. No id is there twice in a revision.
    newest[coded.indices.to_numpy()] = np.arange(rows.num_rows)
    settings, shadows = np.flatnonzero(ops == Op.SETTINGS), np.flatnonzero(ops == Op.SHADOW)
    heads = EventHeads(
        revision=int(rows["revision"].to_numpy().max()),
        item_rows=np.sort(row_ids[newest[ops[newest] == Op.UPSERT]]),
        settings_row=int(row_ids[settings[-1]]),
        shadow_row=int(row_ids[shadows[-1]]) if len(shadows) else None,
        fold=fold,
    )
    return heads, rows


def fold_table(table: AppendTable, *, request_ids_count: int, least_dead: int, erased: int = 0) -> int:
    """Take out every event that does not count any more; see `EventTable.fold`."""
    taken = 0

    def plan(view: TableView) -> Replacement | None:
        nonlocal taken
        heads, rows = find_heads(view, _FOLD_COLUMNS)
        counts = _counting(heads, rows)
        is_fold = rows["op"].to_numpy() == Op.FOLD
        taken = int(np.count_nonzero(~counts & ~is_fold))
        known_erased = 0 if heads.fold is None else heads.fold.erased
        if taken < max(1, least_dead) and erased <= known_erased:
            return None
        event = _fold_event(heads, rows, counts, request_ids_count, erased=max(erased, known_erased))
        dead = rows[ROW_ADDRESS].to_numpy().astype(np.int64)[~counts]
        return Replacement(dead, events_to_table([event]))

    return taken if table.replace(plan) else 0


def rows_of(batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> pa.Table:
    """Return scanned events as one table, with their row ids."""
    types = {ROW_ADDRESS: pa.field(ROW_ADDRESS, pa.uint64()), ROW_ID: pa.field(ROW_ID, pa.uint64())}
    fields = [types[name] if name in types else EVENT_SCHEMA.field(name) for name in (*columns, ROW_ID)]
    names = [field.name for field in fields]
    return pa.Table.from_batches([batch.select(names) for batch in batches], schema=pa.schema(fields))


def _read_fold(view: TableView, rows: pa.Table) -> Fold | None:
    row_ids = rows[ROW_ID].to_numpy().astype(np.int64)[rows["op"].to_numpy() == Op.FOLD]
    if not len(row_ids):
        return None
    if len(row_ids) > 1:
        msg = f"the table holds {len(row_ids)} folds"
        raise DataLossError(msg, reason="STORE_DAMAGED")
    event = view.take(row_ids, (*VERIFIED_COLUMNS, "row_digest"))
    verify_rows(event)
    return Fold.unpack(event["payload"][0].as_py(), revision=event["revision"][0].as_py())


def _counting(heads: EventHeads, rows: pa.Table) -> NDArray[np.bool_]:
    """Return which events stay."""
    kept = [heads.item_rows] if heads.shadow_row is None else [heads.item_rows, np.array([heads.shadow_row])]
    is_kept = np.isin(rows[ROW_ID].to_numpy().astype(np.int64), np.concatenate(kept))
    counts: NDArray[np.bool_] = is_kept | (rows["op"].to_numpy() == Op.SETTINGS)
    return counts


def _fold_event(
    heads: EventHeads, rows: pa.Table, counts: NDArray[np.bool_], request_ids_count: int, *, erased: int
) -> Event:
    answered = np.flatnonzero(pc.greater(pc.binary_length(rows["answer"]), 0).to_numpy())
    known = [] if heads.fold is None else [(folded.answer.revision, folded) for folded in heads.fold.answers]
    told = rows.take(pa.array(answered)).select(("revision", "op", "request_id", "answer")).to_pydict()
    stays: list[tuple[int, FoldedAnswer | None]] = [*known]
    for place, revision, op, request_id, data in zip(answered.tolist(), *told.values(), strict=True):
        gone = None
        if not counts[place]:
            gone = FoldedAnswer(request_id, Answer.from_json(data, op=op, revision=revision))
        stays.append((revision, gone))
    stays.sort(key=lambda entry: entry[0])
    kept = rows.filter(pa.array(counts))
    fold = Fold(
        revision=heads.revision,
        rows=kept.num_rows,
        sums=digest_sums(kept["row_digest"]),
        answers=tuple(gone for _, gone in stays[-request_ids_count:] if gone is not None),
        erased=erased,
    )
    return Event(revision=heads.revision, op=Op.FOLD, request_id="", id=FOLD_ID, payload=fold.pack())
