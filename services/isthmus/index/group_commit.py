"""The queue in front of one collection's event table: concurrent mutations share a commit, each keeps its revision."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from isthmus.core.modality import Modality
from isthmus.index.config import IndexConfig
from isthmus.index.disk_space import DiskSpace, disk_full, is_disk_full
from isthmus.index.epoch import WriterEpoch
from isthmus.index.erasing import content_digests, erase
from isthmus.index.events import Answer, Op
from isthmus.index.group_plan import GroupPlan, plan_group
from isthmus.index.history import PromotionHistory, read_history
from isthmus.index.metrics import COMMIT_ROWS, COMMIT_SECONDS, FOLDED_EVENTS, ITEMS, MERGED_FRAGMENTS, REVISION
from isthmus.index.model import CollectionInfo
from isthmus.index.mutations import Compound, Delete, Mutation, Upsert
from isthmus.index.state import CollectionState, load_state
from isthmus.index.store import EventTable
from isthmus.index.store_errors import store_errors, unconfirmed
from isthmus.index.superseded import SupersededError
from isthmus.index.table import ROW_ID
from isthmus.index.upkeep import Tended, tend
from isthmus.runtime.base.errors import (
    InternalError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
)
from isthmus.runtime.base.logging import fields

__all__ = ["CommitThreads", "GroupCommitter"]

log = logging.getLogger("isthmus.index")

_RETRY_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class CommitThreads:
    """Where blocking work runs, shared by all collections.

    Attributes:
        commit: Plans and commits groups.
        maintain: Compacts and cleans up.
    """

    commit: Executor
    maintain: Executor


class GroupCommitter:
    """Applies mutations to one collection, one group at a time.

    While a group is being committed, further mutations queue up; all of them make the next group. Everything here runs
    on the event loop but planning and committing, which run in a thread, never two at once for one collection.

    Args:
        tenant: Whose collection it is.
        name: Its name.
        table: Its event table, claimed.
        state: What that table holds.
        epoch: The writer's.
        threads: For blocking work.
        config: Limits.
        space: Of the store's disk.
        announce: Called with the newest revision, once it is opened and after each commit.
    """

    def __init__(
        self,
        *,
        tenant: str,
        name: str,
        table: EventTable,
        state: CollectionState,
        epoch: WriterEpoch,
        threads: CommitThreads,
        config: IndexConfig,
        space: DiskSpace,
        announce: Callable[[int], None],
    ) -> None:
        self._tenant = tenant
        self._name = name
        self._table = table
        self._state = state
        self._epoch = epoch
        self._threads = threads
        self._config = config
        self._space = space
        self._announce = announce
        self._queue: deque[tuple[Mutation, asyncio.Future[Answer]]] = deque()
        self._queued_rows = 0
        self._committing: asyncio.Task[None] | None = None
        self._maintaining: asyncio.Task[None] | None = None
        self._state_is_stale = False
        self._closed = False
        self._fan_out = config.compact_fan_out
        self._commits_until_maintenance = self._fan_out
        self._export()

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self._name

    @property
    def state(self) -> CollectionState:
        """What is committed."""
        return self._state

    def info(self) -> CollectionInfo:
        """Describe the collection at its newest committed revision."""
        state = self._state
        return CollectionInfo(
            name=self._name,
            settings=state.settings,
            aligner=state.aligner,
            revision=state.revision,
            image_count=state.counts[Modality.IMAGE],
            text_count=state.counts[Modality.TEXT],
            shadow_aligner=state.shadow,
        )

    def history(self) -> PromotionHistory:
        """Read what was made active, newest first; blocks.

        Raises:
            OSError: the table cannot be read.
        """
        return read_history(self._table.view())

    async def submit(self, mutation: Mutation) -> Answer:
        """Apply a mutation; it is durable when this returns.

        A caller that gives up does not undo it: it may be applied all the same.

        Raises:
            ResourceExhaustedError: QUEUE_FULL; too many rows wait already. DISK_FULL; only deletions go on.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. The mutation may have been applied: repeat it
                with the same request id. NOT_READY; another writer has taken over.
            NotFoundError: COLLECTION_NOT_FOUND; the collection was deleted meanwhile.
        """
        if self._epoch.superseded:  # asked first: a writer that takes the store again closes what it opened before
            raise SupersededError
        if self._closed:
            raise _deleted_meanwhile()
        if isinstance(mutation, Upsert | Compound):
            self._space.check()
        if self._queued_rows + mutation.rows > self._config.queue_max_rows:
            limit = self._config.queue_max_rows
            msg = f"{self._queued_rows} rows wait for a commit; the limit is {limit}"
            raise ResourceExhaustedError(
                msg, reason="QUEUE_FULL", metadata={"limit": str(limit)}, retry_after_s=_RETRY_AFTER_S
            )
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((mutation, future))
        self._queued_rows += mutation.rows
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        return await future

    async def erase(self, deletion: Delete) -> tuple[Answer, tuple[bytes, ...]]:
        """Delete items and leave no byte of them in the store.

        Returns:
            What the deletion was answered, and the digests of the contents that were stored of the items.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE; the items may be deleted and not erased: repeat it.
            Others: as `submit`.
        """
        work, loop = self._threads.maintain, asyncio.get_running_loop()
        with store_errors():
            digests = await loop.run_in_executor(work, lambda: content_digests(self._table.view(), deletion.ids))
            answer = await self.submit(deletion)
            await loop.run_in_executor(
                work,
                lambda: erase(
                    self._table,
                    deletion.ids,
                    revision=answer.revision,
                    epoch=self._epoch,
                    request_ids_count=self._config.request_ids_count,
                ),
            )
        log.info("items erased", extra=fields(collection=self._name, items=len(deletion.ids), revision=answer.revision))
        return answer, digests

    async def close(self) -> None:
        """Take no more mutations; commit those that wait; let maintenance end."""
        self._closed = True
        for task in (self._committing, self._maintaining):
            if task is not None:
                await task

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            group = self._take_group()
            try:
                plan = await loop.run_in_executor(self._threads.commit, self._commit, [entry for entry, _ in group])
            except asyncio.CancelledError:
                raise
            except SupersededError as error:
                _settle(group, [error] * len(group))
                continue
            except BaseException as error:
                # Whether the rows are there is unknown, so what we believe of the table is read again before the next
                # group; a mutation that is repeated is then recognised by its request id.
                self._state_is_stale = True
                log.exception("commit failed", extra=fields(collection=self._name, mutations=len(group)))
                _settle(group, [disk_full() if is_disk_full(error) else unconfirmed()] * len(group))
                continue
            self._state.adopt(plan)
            _settle(group, plan.outcomes)
            self._export()
            self._maintain_when_due()

    def _take_group(self) -> list[tuple[Mutation, asyncio.Future[Answer]]]:
        group = [self._queue.popleft()]
        rows = group[0][0].rows
        while self._queue and rows + self._queue[0][0].rows <= self._config.group_max_rows:
            group.append(self._queue.popleft())
            rows += group[-1][0].rows
        self._queued_rows -= rows
        return group

    def _commit(self, mutations: list[Mutation]) -> GroupPlan:
        """Plan a group and write it; in a thread."""
        started_s = time.monotonic()
        if self._state_is_stale:
            # A commit that was given up may still be on its way to the store; the claim makes it arrive now or never.
            self._table.claim(check=self._epoch.check, pin=self._epoch.pin)
            self._state = load_state(
                self._table.view(), self._state.settings, request_ids_count=self._config.request_ids_count
            )
            self._state_is_stale = False
        plan = plan_group(self._state, mutations, payload_at=self._payload_at)
        if plan.events:
            try:
                self._table.append(plan.events)
            except SupersededError:
                self._epoch.lose()
                raise
            COMMIT_SECONDS.observe(time.monotonic() - started_s)
            COMMIT_ROWS.observe(len(plan.events))
        else:
            self._epoch.check()  # an answer from memory: only the last writer's memory is the truth
        return plan

    def _payload_at(self, revision: int) -> bytes:
        """Return the artefact of the SETTINGS event of a revision, verified; in a thread."""
        view = self._table.view()
        for batch in view.scan(("revision", "op")):
            is_wanted = (batch["revision"].to_numpy() == revision) & (batch["op"].to_numpy() == Op.SETTINGS)
            row_ids = batch[ROW_ID].to_numpy()[is_wanted].astype(np.int64)
            if len(row_ids):
                payload: bytes = view.take(row_ids)["payload"][0].as_py()
                return payload
        msg = "a SETTINGS event is not where it was committed; this is a bug"
        raise InternalError(msg)

    def _maintain_when_due(self) -> None:
        self._commits_until_maintenance -= 1
        idle = self._maintaining is None or self._maintaining.done()
        if idle and not self._closed and self._commits_until_maintenance <= 0:
            self._commits_until_maintenance = self._fan_out
            self._maintaining = asyncio.create_task(self._maintain())

    async def _maintain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            tended = await loop.run_in_executor(self._threads.maintain, self._tend)
        except asyncio.CancelledError:
            raise
        except BaseException:
            # Nothing is lost: the files stay as they are and the next commit tries again.
            log.exception("maintenance failed", extra=fields(collection=self._name))
        else:
            MERGED_FRAGMENTS.inc(tended.merged_fragments)
            FOLDED_EVENTS.inc(tended.folded_events)

    def _tend(self) -> Tended:
        return tend(self._table, self._state, epoch=self._epoch, config=self._config)

    def _export(self) -> None:
        for modality in Modality:
            ITEMS.labels("writer", self._tenant, self._name, modality.value).set(self._state.counts[modality])
        REVISION.labels("writer", self._tenant, self._name).set(self._state.revision)
        self._announce(self._state.revision)


def _deleted_meanwhile() -> NotFoundError:
    msg = "there is no such collection"
    return NotFoundError(msg, reason="COLLECTION_NOT_FOUND")


def _settle(group: list[tuple[Mutation, asyncio.Future[Answer]]], outcomes: Sequence[Answer | IsthmusError]) -> None:
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if future.done():  # its caller gave up
            continue
        if isinstance(outcome, IsthmusError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
