"""Check that a table holds every event it must: a file that a damaged manifest leaves out is missed by nobody else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.index.events import Answer, Op
from isthmus.index.folds import Fold
from isthmus.index.table import ROW_ID
from isthmus.runtime.base.errors import DataLossError

__all__ = ["check_complete", "check_whole"]


def check_whole(rows: pa.Table, *, fold: Fold | None) -> None:
    """Refuse a table whose events are not all there.

    Args:
        rows: All events, with `revision`, `op`, `answer`, `row_digest` and their row ids.
        fold: What the table's FOLD event says; None when it has none.

    Raises:
        DataLossError: STORE_DAMAGED; as `check_complete`, or what stayed of a fold is not there.
    """
    if fold is None:
        check_complete(rows)
        return
    _check_row_ids(rows)
    revisions = rows["revision"].to_numpy()
    is_event = rows["op"].to_numpy() != Op.FOLD
    fold.check(rows.filter(pa.array((revisions <= fold.revision) & is_event)))
    check_complete(rows.filter(pa.array((revisions > fold.revision) & is_event)), above=fold.revision)


def check_complete(rows: pa.Table, *, above: int = 0) -> None:
    """Refuse events that are not all there.

    Every mutation that writes takes the next revision, and the first of its rows says how many it wrote.

    Args:
        rows: All events above a revision that nothing above is folded of, with `revision`, `op`, `answer` and their row
            ids.
        above: That revision.

    Raises:
        DataLossError: STORE_DAMAGED; a revision is missing, or has fewer or more rows than were written, or two rows
            are known by one row id.
    """
    _check_row_ids(rows)
    places = rows["revision"].to_numpy() - above
    if not len(places):
        return
    plausible = places.min() > 0 and places.max() <= len(places)  # no revision without a row
    found = np.bincount(places) if plausible else np.zeros(1, dtype=np.int64)
    written = np.zeros(len(found), dtype=np.int64)
    first = rows.filter(pc.greater(pc.binary_length(rows["answer"]), 0))
    for revision, op, data in zip(*(first[name].to_pylist() for name in ("revision", "op", "answer")), strict=True):
        if 0 < revision - above < len(written):
            written[revision - above] += Answer.from_json(data, op=op, revision=revision).rows
    if len(found) < 2 or (written[1:] < 1).any() or (found[1:] != written[1:]).any():  # noqa: PLR2004 - place 0 is none
        wrong = int(np.count_nonzero(found != written)) or 1
        msg = f"the rows of {wrong} revisions are not as many as were written"
        raise DataLossError(msg, reason="STORE_DAMAGED", metadata={"revisions": str(wrong)})


def _check_row_ids(rows: pa.Table) -> None:
    if len(pc.unique(rows[ROW_ID])) != rows.num_rows:
        msg = "rows of the table share a row id"
        raise DataLossError(msg, reason="STORE_DAMAGED")
