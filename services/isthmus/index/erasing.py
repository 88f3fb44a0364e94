"""Remove every copy of items from a collection's table: events, the files that held them, versions from before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from isthmus.index.epoch import WriterEpoch
from isthmus.index.store import EventTable, EventView
from isthmus.runtime.base.errors import UnavailableError

__all__ = ["Erasure", "Gap", "content_digests", "erase"]

_TRIES: Final = 5
"""A claim of this very writer, or a compaction, may come between; each try loses to one of them."""


class Gap(Enum):
    """A place in the writer's reach where copies may still lie."""

    SHARED_CACHE = "shared cache"
    UNFINISHED_WRITES = "unfinished writes"
    IMPORT_FOLDER = "import folder"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes:
        revision: At which the items are gone.
        deleted_count: Items that were there.
        digests: Of the contents that the table knew of them, without repeats, at most ERASED_DIGESTS_MAX_COUNT.
        gaps: Where copies may still lie.
    """

    revision: int
    deleted_count: int
    digests: tuple[bytes, ...]
    gaps: tuple[Gap, ...]


def content_digests(view: EventView, ids: Sequence[str]) -> tuple[bytes, ...]:
    """Return the digests of all contents that a table holds under ids, older versions too; blocks."""
    wanted = pa.array(ids, pa.string())
    found: dict[bytes, None] = {}
    for batch in view.scan(("id", "content_digest")):
        mine = batch.filter(pc.is_in(batch["id"], wanted))
        found |= dict.fromkeys(mine["content_digest"].to_pylist())
    return tuple(digest for digest in found if digest)


def erase(table: EventTable, ids: Sequence[str], *, revision: int, epoch: WriterEpoch, request_ids_count: int) -> None:
    """Leave no byte of items that are deleted; blocks, and may run beside commits.

    Args:
        table: Claimed.
        ids: Of items that are deleted at `revision`; what is stored under them later stays.
        revision: Of the deletion, or a later one.
        epoch: The writer's.
        request_ids_count: Mutations whose answer is kept.

    Raises:
        SupersededError: another writer has taken the store.
        OSError: the store refused.
        UnavailableError: BACKEND_UNAVAILABLE; other work came between too often.
    """
    for last in range(1 - _TRIES, 1):
        table.fold(request_ids_count=request_ids_count, least_dead=1, erased=revision)
        try:
            table.purge(check=epoch.check, pin=epoch.pin)
        except OSError:
            if not last:
                raise
            continue
        if not _is_left(table.view(), ids, revision):
            return
    msg = "the store is too busy to be cleared of the items; they are deleted: repeat it with the same request_id"
    raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)


def _is_left(view: EventView, ids: Sequence[str], revision: int) -> bool:
    wanted = pa.array(ids, pa.string())
    return any(
        pc.any(pc.and_(pc.is_in(batch["id"], wanted), pc.less_equal(batch["revision"], revision))).as_py()
        for batch in view.scan(("id", "revision"))
    )
