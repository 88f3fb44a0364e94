"""Follow one collection in the store, and publish what a searcher answers from."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from isthmus.core.modality import Modality
from isthmus.index.build import catch_up, load_snapshot
from isthmus.index.cache.recall import Recall
from isthmus.index.calibrate import CalibrationKeeper
from isthmus.index.catalog import CatalogEntry, StorePaths
from isthmus.index.damage import as_store_error, check_nothing_lost, newest_commit
from isthmus.index.metrics import CATCH_UP_SECONDS, FOLLOW_FAILURES, ITEMS, REVISION
from isthmus.index.segments import merge_segments
from isthmus.index.snapshot import Merge, Snapshot, plan_merge
from isthmus.index.store import EventTable, EventView
from isthmus.index.structure_state import StructureReport
from isthmus.index.watch import ChangeHint
from isthmus.runtime.base.errors import DataLossError, IsthmusError, UnavailableError
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.shards import WHOLE, Shard

__all__ = ["Follower"]

log = logging.getLogger("isthmus.index")

_ADVANCE_TRIES: Final = 3
_RETRY_MIN_S: Final = 0.5
_RETRY_MAX_S: Final = 30.0


class Follower:
    """One collection: its newest snapshot, which readers take by one reference, and the road to the next one.

    Two kinds of work make snapshots. `follow` brings the news and is quick. `settle` merges segments and estimates the
    calibration, which takes longer; it works beside `follow` and fits its result into whatever is newest by then.

    Args:
        tenant: Whose collection it is.
        entry: From the catalog.
        paths: Of the store.
        shard: The part of the collection that is held.
        recall: Says what needs not be read from the store.
    """

    def __init__(
        self,
        tenant: str,
        entry: CatalogEntry,
        paths: StorePaths,
        *,
        shard: Shard = WHOLE,
        recall: Recall | None = None,
    ) -> None:
        self.tenant = tenant
        self.entry = entry
        self._paths = paths
        self._shard = shard
        self._recall = recall
        self._uri = paths.events(tenant, entry.uuid)
        self._storage_options = paths.storage_options
        self._hint = ChangeHint(self._uri)
        self._keeper = CalibrationKeeper()
        self._publishing = threading.Lock()  # for whoever makes snapshots; readers never wait
        self._settling = threading.Lock()
        self._table: EventTable | None = None
        self._snapshot: Snapshot | None = None
        self._settled: Snapshot | None = None
        self._failure: IsthmusError | None = None
        self._retry_s = 0.0
        self._rest_s = _RETRY_MIN_S

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot; it stays valid for as long as it is held.

        Raises:
            DataLossError: STORE_DAMAGED; the collection could not be read.
            UnavailableError: NOT_READY; it could not be read yet.
        """
        snapshot = self._snapshot
        if snapshot is None:
            raise self._failure or _not_ready()
        return snapshot

    @property
    def loaded(self) -> bool:
        """True once there is a snapshot."""
        return self._snapshot is not None

    @property
    def failure(self) -> IsthmusError | None:
        """Why the last attempt to follow failed; None when it did not."""
        return self._failure

    @property
    def is_settled(self) -> bool:
        """True when `settle` would find nothing to do."""
        return self._settled is self._snapshot

    def is_due(self) -> bool:
        """Return True when following may bring news. Cheap: a look at a time stamp."""
        if self._failure is not None:
            return time.monotonic() >= self._retry_s
        return self._hint.may_have_changed()

    def fresh_view(self) -> EventView:
        """Return the store as it is now, for a reader whose snapshot's version was cleaned up under it.

        Raises:
            OSError: the table cannot be read.
        """
        if self._table is None:
            raise _not_ready()
        return self._table.view()

    def follow(self) -> None:
        """Bring the snapshot up to date; blocks, for a builder's thread. Failure is kept, logged and counted."""
        with self._publishing:
            started_s = time.monotonic()
            stamp = self._hint.stamp()
            try:
                self._advance_past_removals()
            except Exception as error:
                FOLLOW_FAILURES.inc()
                self._failure = as_store_error(error, self._paths, self._uri)
                self._retry_s = time.monotonic() + self._rest_s
                self._rest_s = min(2 * self._rest_s, _RETRY_MAX_S)
                damaged = isinstance(self._failure, DataLossError)
                log.exception("cannot follow collection", extra=fields(collection=self.entry.name, damaged=damaged))
            else:
                self._hint.settle(stamp)
                self._failure = None
                self._rest_s = _RETRY_MIN_S
                CATCH_UP_SECONDS.observe(time.monotonic() - started_s)

    def settle(self) -> None:
        """Merge segments and calibrate, once; blocks, for a thread of its own. Failure is logged and counted."""
        with self._settling:
            try:
                self._settle()
            except Exception:
                FOLLOW_FAILURES.inc()
                log.exception("cannot settle collection", extra=fields(collection=self.entry.name))
                self._settled = self._snapshot  # the next revision tries again

    def rearrange(
        self, made_of: Snapshot, modality: Modality, merges: Iterable[Merge], report: StructureReport
    ) -> bool:
        """Put structures into the newest snapshot, where their segments are still there; return whether they fit it.

        Args:
            made_of: The snapshot that they were built of.
            modality: Of them.
            merges: Each puts one segment with its structure in the place of the same without.
            report: What to tell of them.
        """
        with self._publishing:
            newest = self.snapshot()
            if newest.aligner is not made_of.aligner:
                return False
            parts = newest.segments[modality]
            for merge in merges:
                parts = merge.apply(parts)
            arranged = replace(
                newest,
                segments={**newest.segments, modality: parts},
                structures={**newest.structures, modality: report},
            )
            if self._settled is newest:
                self._settled = arranged  # the same items, searched otherwise
            self._publish(arranged)
            return True

    def _settle(self) -> None:
        snapshot = self.snapshot()
        due = {modality: plan_merge(parts) for modality, parts in snapshot.segments.items()}
        merges = {modality: Merge(parts, merge_segments(parts)) for modality, parts in due.items() if parts}
        calibration, final = self._keeper.calibrate(snapshot)
        with self._publishing:
            newest = self.snapshot()
            if newest.aligner is not snapshot.aligner:
                return
            segments = dict(newest.segments)
            for modality, merge in merges.items():
                segments[modality] = merge.apply(segments[modality])
            settled = replace(newest, segments=segments, calibration=calibration)
            self._publish(settled)
            if final and newest is snapshot and not any(map(plan_merge, segments.values())):
                self._settled = settled

    def _advance_past_removals(self) -> None:
        """Advance, again where a version went while it was read: erasing items spares no reader."""
        for last in range(1 - _ADVANCE_TRIES, 1):
            newest = self._newest_version()
            try:
                self._advance()
            except Exception:
                if not last or self._newest_version() == newest:
                    raise
            else:
                return

    def _newest_version(self) -> int:
        return 0 if self._table is None else self._table.latest_version()

    def _advance(self) -> None:
        before = self._snapshot
        if before is None:
            committed = newest_commit(self._paths, self._uri)
            self._table = EventTable.open(self._uri, durable=False, storage_options=self._storage_options)
            view = self._table.view()
            check_nothing_lost(view.version, committed=committed)
            snapshot = load_snapshot(self.entry.name, self.entry.settings, view, shard=self._shard, recall=self._recall)
        elif before.view.latest_version() == before.view.version:
            return
        else:
            view = self.fresh_view()
            check_nothing_lost(view.version, committed=before.view.version)
            snapshot = catch_up(before, view)
        if before is None or snapshot.aligner is not before.aligner:
            # What was estimated in another space says nothing here. Nobody is kept waiting: there are no answers yet,
            # or the old ones still stand.
            calibration, _ = CalibrationKeeper().calibrate(snapshot)
            snapshot = replace(snapshot, calibration=calibration)
        elif snapshot.revision == before.revision and self._settled is before:
            self._settled = snapshot  # another version of the store, the same items
        self._publish(snapshot)

    def _publish(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        for modality in Modality:
            ITEMS.labels("searcher", self.tenant, snapshot.name, modality.value).set(snapshot.count(modality))
        REVISION.labels("searcher", self.tenant, snapshot.name).set(snapshot.revision)


def _not_ready() -> UnavailableError:
    msg = "the collection is not loaded yet"
    return UnavailableError(msg, reason="NOT_READY", retry_after_s=1.0)
