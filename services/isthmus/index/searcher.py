"""Answers reads from immutable snapshots that follow the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.index.catalog import StorePaths
from isthmus.index.config import IndexConfig
from isthmus.index.follower import Follower
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    Followed,
    ItemReader,
    ItemView,
    NotesWanted,
    SearchResult,
)
from isthmus.index.pair_matching import PairsResult, PairVectors, match_snapshot
from isthmus.index.pair_rows import PairSampling, list_followed, sampled_row_ids
from isthmus.index.ranking import joined, search_snapshot
from isthmus.index.reading import read_rows
from isthmus.index.roster import Roster
from isthmus.index.search_pool import SearchPool
from isthmus.index.shadow import Shadows
from isthmus.index.shadow_tally import ShadowReport
from isthmus.index.snapshot import Snapshot
from isthmus.index.stored_rows import fill_embeddings, take_rows
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, LABELS_MAX_COUNT, TOP_K_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.names import check_count

__all__ = ["SearcherEngine"]

log = logging.getLogger("isthmus.index")

_BUILD_THREADS: Final = 2
_RETRY_S: Final = 0.01
_ROSTER_RETRY_S: Final = 1.0
_PART_MIN_QUERIES: Final = 4
"""A batch is cut into parts of at least this many queries, one a thread that has nothing to do."""

T = TypeVar("T")


class SearcherEngine:
    """Answers from memory; follows the store by itself and when a read asks for a newer revision.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._roster = Roster(StorePaths.at(config.store_dir, config.object_store))
        self._builders = ThreadPoolExecutor(_BUILD_THREADS, thread_name_prefix="index-build")
        self._roster_thread = ThreadPoolExecutor(1, thread_name_prefix="index-roster")
        self._pool = SearchPool(threads=config.search_threads, queue_count=config.search_queue_count)
        self._settlers = ThreadPoolExecutor(1, thread_name_prefix="index-settle")
        self._shadows = Shadows(config)
        self._following: dict[Follower, asyncio.Task[None]] = {}
        self._settling: dict[Follower, asyncio.Task[None]] = {}
        self._updating: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load every collection, then keep following them."""
        started_s = time.monotonic()
        await self._update_roster()
        if self._following:
            await asyncio.wait(self._following.values())
        self._polling = asyncio.create_task(self._poll())
        loaded = sum(follower.failure is None for follower in self._roster)
        seconds = round(time.monotonic() - started_s, 3)
        log.info("collections loaded", extra=fields(collections=loaded, seconds=seconds))

    async def close(self) -> None:
        """Stop following; let what runs end."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        running = [self._updating, *self._following.values(), *self._settling.values()]
        await asyncio.gather(*(task for task in running if task is not None), return_exceptions=True)
        await self._shadows.close()
        self._builders.shutdown()
        self._settlers.shutdown()
        self._roster_thread.shutdown()
        self._pool.close()

    async def search(
        self,
        tenant: str,
        collection: str,
        *,
        modality: Modality,
        space: str,
        queries: NDArray[np.float32],
        top_k: int,
        item_modality: Modality | None = None,
        where: Filter | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the nearest items of each query.

        Args:
            tenant: Whose collection it is.
            collection: Its name.
            modality: Of the queries.
            space: Their raw space; must be the collection's.
            queries: (n, d) float32 raw embeddings, n at most 256.
            top_k: Neighbours a query, 1 to 1,000.
            item_modality: Of the answers; None means any, merged by calibrated score.
            where: What must hold of the answers; None means nothing.
            min_revision: Answer from at least this revision.
            timeout_s: Time the caller has left; None means for ever.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: SPACE_MISMATCH, NO_ALIGNER.
            InvalidArgumentError: INVALID_VECTOR, INVALID_FIELD.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            ResourceExhaustedError: BATCH_TOO_LARGE, LIMIT_EXCEEDED, OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        check_count(range(len(queries)), field="queries", limit=EMBED_MAX_COUNT)
        _check_top_k(top_k)
        follower = await self._follower(tenant, collection)
        snapshot = await self._at_least(follower, min_revision, deadline_s)
        ask = partial(
            search_snapshot,
            snapshot,
            modality=modality,
            space=space,
            top_k=top_k,
            item_modality=item_modality,
            where=where,
        )
        parts = np.array_split(queries, max(1, min(self._pool.idle_threads, len(queries) // _PART_MIN_QUERIES)))
        answers = await asyncio.gather(*(self._pool.run(partial(ask, part), deadline_s=deadline_s) for part in parts))
        self._shadows.offer(
            follower,
            queries,
            modality=modality,
            space=space,
            top_k=top_k,
            item_modality=item_modality,
            where=where,
            is_idle=self._pool.idle_threads > 0,
        )
        return answers[0] if len(answers) == 1 else joined(answers)

    async def match_pairs(
        self,
        tenant: str,
        collection: str,
        vectors: Mapping[Modality, Sequence[PairVectors]],
        *,
        terms: MatchTerms,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> PairsResult:
        """Judge pairs of raw vectors by a collection's aligner and calibration.

        Raises:
            IsthmusError: as `search` and `match_snapshot`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        snapshot = await self._at_least(await self._follower(tenant, collection), min_revision, deadline_s)
        return await self._pool.run(partial(match_snapshot, snapshot, vectors, terms), deadline_s=deadline_s)

    async def shadow_report(
        self, tenant: str, collection: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> ShadowReport:
        """Return what the collection's shadow aligner would have changed, as far as this searcher has compared.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        follower = await self._follower(tenant, collection)
        await self._at_least(follower, min_revision, None if timeout_s is None else time.monotonic() + timeout_s)
        return self._shadows.report(follower)

    async def get_items(
        self,
        tenant: str,
        collection: str,
        *,
        ids: Sequence[str],
        include_embeddings: bool = False,
        include_thumbnails: bool = False,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> tuple[int, tuple[ItemView, ...]]:
        """Return the revision, and the items that are there, in the order asked.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: THUMBNAILS_DISABLED.
            InvalidArgumentError: EMPTY_INPUT.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            ResourceExhaustedError: BATCH_TOO_LARGE, OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        check_count(ids, field="ids", limit=UPSERT_MAX_COUNT)
        follower = await self._follower(tenant, collection)
        if include_thumbnails and not follower.entry.settings.store_thumbnails:
            msg = "the collection does not store thumbnails"
            raise FailedPreconditionError(msg, reason="THUMBNAILS_DISABLED")
        snapshot = await self._at_least(follower, min_revision, deadline_s)

        def read() -> tuple[ItemView, ...]:
            """Blocks; runs in a search thread."""
            places = [place for place in snapshot.find(ids) if place is not None]
            items = [snapshot.item(place.segment, place.row) for place in places]
            if not items or not (include_embeddings or include_thumbnails):
                return tuple(items)
            row_ids = np.array([place.segment.row_ids[place.row] for place in places])
            rows = take_rows(follower, snapshot, row_ids, thumbnails=include_thumbnails)
            if include_embeddings:
                fill_embeddings(items, rows["embedding"], snapshot)
            if include_thumbnails:
                thumbnails = rows["thumbnail"].to_pylist()
                items = [replace(item, thumbnail=data) for item, data in zip(items, thumbnails, strict=True)]
            return tuple(items)

        return snapshot.revision, await self._pool.run(read, deadline_s=deadline_s)

    async def read_items(
        self,
        tenant: str,
        collection: str,
        *,
        paired_only: bool = False,
        notes: NotesWanted | None = None,
        sample: PairSampling | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> ItemReader:
        """Pin a collection at one revision and read its items with their raw embeddings, images first.

        Args:
            tenant: Whose collection it is.
            collection: Its name.
            paired_only: Leave out items without a pair key.
            notes: What to say of items beside; None for nothing.
            sample: Read so many pairs only; None reads everything.
            min_revision: Read at least this revision.
            timeout_s: Time the caller has left; None means for ever.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._follower(tenant, collection)
        snapshot = await self._at_least(follower, min_revision, deadline_s)
        aligner = None if snapshot.aligner is None else AlignerFiles(*snapshot.aligner.artefact.to_bytes())
        chosen: Callable[[Modality], NDArray[np.int64]] = partial(snapshot.live_row_ids, paired_only=paired_only)
        if sample is not None:
            sampled = await self._pool.run(partial(sampled_row_ids, snapshot, sample), deadline_s=deadline_s)
            chosen = sampled.__getitem__
        batches = read_rows(follower, snapshot, chosen, notes=notes or NotesWanted(), pool=self._pool)
        return ItemReader(snapshot.info(), aligner, batches)

    async def list_followed(self, known: Mapping[tuple[str, str], int]) -> tuple[Followed, ...]:
        """Return the collections of every tenant that are loaded, by tenant and name.

        Args:
            known: Revisions that the caller knows, by tenant and name.

        Raises:
            ResourceExhaustedError: OVERLOADED.
        """
        return await list_followed(self._roster, known, pool=self._pool)

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a search thread, so that the event loop stays free.

        Raises:
            ResourceExhaustedError: OVERLOADED.
        """
        return await self._pool.run(work)

    async def list_values(
        self, tenant: str, collection: str, *, attribute: str, min_revision: int = 0, timeout_s: float | None = None
    ) -> tuple[CollectionInfo, list[str]]:
        """Return a collection and the different values that its items have of an attribute, as text, sorted.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            ResourceExhaustedError: LIMIT_EXCEEDED, more than 256 different values; OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._follower(tenant, collection)
        snapshot = await self._at_least(follower, min_revision, deadline_s)
        values = await self._pool.run(partial(snapshot.attribute_values, attribute), deadline_s=deadline_s)
        if len(values) > LABELS_MAX_COUNT:
            msg = f"the attribute has {len(values)} different values; the limit is {LABELS_MAX_COUNT}"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "attribute", "limit": str(LABELS_MAX_COUNT)}
            )
        return snapshot.info(), sorted(values)

    async def _follower(self, tenant: str, name: str) -> Follower:
        """Return a collection's follower; a collection deleted or made a moment ago is noticed."""
        if self._roster.get(tenant, name) is None or not self._roster.is_current(tenant):
            await self._update_roster()
        follower = self._roster.get(tenant, name)
        if follower is None:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return follower

    async def _at_least(self, follower: Follower, min_revision: int, deadline_s: float | None) -> Snapshot:
        give_up_s = time.monotonic() + self._config.revision_wait_s
        if deadline_s is not None:
            give_up_s = min(give_up_s, deadline_s)
        loading = self._following.get(follower)
        if not follower.loaded and loading is not None:
            await asyncio.wait({loading}, timeout=max(0.0, give_up_s - time.monotonic()))
        while True:
            snapshot = follower.snapshot()
            if snapshot.revision >= min_revision:
                return snapshot
            remaining_s = give_up_s - time.monotonic()
            if remaining_s <= 0.0:
                msg = f"the collection is at revision {snapshot.revision}, not yet at {min_revision}"
                metadata = {"revision": str(snapshot.revision), "min_revision": str(min_revision)}
                raise UnavailableError(msg, reason="REVISION_NOT_REACHED", metadata=metadata)
            await asyncio.wait({self._follow(follower)}, timeout=remaining_s)
            if follower.failure is not None:
                raise follower.failure
            if follower.snapshot() is snapshot:
                await asyncio.sleep(min(_RETRY_S, remaining_s))

    def _follow(self, follower: Follower) -> asyncio.Task[None]:
        """Return the task that brings a follower up to date, the running one if there is one."""
        task = self._following.get(follower)
        if task is None or task.done():
            task = asyncio.create_task(self._run(self._builders, follower.follow))
            self._following[follower] = task
        return task

    def _settle(self, follower: Follower) -> None:
        task = self._settling.get(follower)
        if task is None or task.done():
            self._settling[follower] = asyncio.create_task(self._run(self._settlers, follower.settle))

    async def _update_roster(self) -> None:
        """Read the catalogs, and load what is new in them."""
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(self._read_roster())
        else:
            # The one that runs may have looked before the change that this caller knows of.
            await asyncio.wait({self._updating})
            if self._updating.done():
                self._updating = asyncio.create_task(self._read_roster())
        await asyncio.shield(self._updating)

    async def _read_roster(self) -> None:
        try:
            fresh = await self._run(self._roster_thread, self._roster.update)
        except (OSError, ValueError) as error:
            msg = "the store cannot be read"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error
        for follower in fresh:
            self._follow(follower)
        known = set(self._roster)
        for tasks in (self._following, self._settling):
            for follower in [gone for gone, task in tasks.items() if gone not in known and task.done()]:
                del tasks[follower]

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._config.poll_every_s)
            try:
                if not self._roster.are_current():
                    await self._update_roster()
            except Exception:
                # What is loaded is served on; the catalogs are looked at again after a while.
                log.exception("cannot read the catalogs")
                await asyncio.sleep(_ROSTER_RETRY_S)
            for follower in self._roster:
                if follower.is_due():
                    self._follow(follower)
                if follower.loaded and not follower.is_settled:
                    self._settle(follower)
            self._shadows.tend(self._roster)

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        msg = f"top_k must be 1 to {TOP_K_MAX_COUNT}; it is {top_k}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "top_k"})
    if top_k > TOP_K_MAX_COUNT:
        msg = f"top_k is {top_k}; the limit is {TOP_K_MAX_COUNT}"
        metadata = {"field": "top_k", "limit": str(TOP_K_MAX_COUNT)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
