"""Upserts: a stream of requests, each one mutation, acknowledged in order once it is durable.

While one request commits, the next ones are prepared (looked up, embedded): up to a window of them. A request that
names an id of one before it waits until that one is committed, because what it looks up must be what it follows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, Content, Row, Stages, UpsertReceipt
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.encode_lane import Lane
from isthmus.gateway.gather import gather_all
from isthmus.gateway.metrics import CACHE
from isthmus.gateway.ports import SearchPort, WriterPort
from isthmus.gateway.upsert_plan import CheckedItem, UpsertPlan, plan_upsert
from isthmus.gateway.validation import space_mismatch
from isthmus.runtime.base.errors import InternalError, IsthmusError
from isthmus.runtime.base.logging import fields

__all__ = ["UpsertAck", "UpsertCommand", "Upserter"]

log = logging.getLogger("isthmus.gateway")

_STORED: Final = CACHE.labels("stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertCommand:
    """One mutation.

    Attributes:
        collection: Where the items go.
        items: Items, ids distinct, or what is wrong with each.
        request_id: Names the mutation.
        refuse_long: Refuse texts that do not fit the encoder's context.
    """

    collection: str
    items: Sequence[CheckedItem | IsthmusError]
    request_id: str
    refuse_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertAck:
    """One acknowledgement.

    Attributes:
        request_id: What it answers.
        revision: The revision at which the items are durable.
        created_count: Items that were not there before.
        updated_count: Items that replaced another version.
        unchanged_count: Items that were stored just so already.
        errors: Items that were refused, by position.
        truncated: Positions of texts that were cut.
        stages: Where the time went.
        total_micros: From the arrival of the request to its commit.
        collection: That was written.
    """

    request_id: str
    revision: int
    created_count: int
    updated_count: int
    unchanged_count: int
    errors: dict[int, IsthmusError]
    truncated: list[int]
    stages: Stages
    total_micros: int
    collection: str = ""


@dataclass(slots=True)
class _Job:
    """A request in work."""

    command: UpsertCommand
    ids: frozenset[str]
    started_s: float
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    prepared: asyncio.Task[_Prepared] | None = None


@dataclass(slots=True)
class _Prepared:
    """A request that waits for its turn to commit."""

    collection: Collection
    plan: UpsertPlan
    revision: int
    truncated: list[int] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)


class Upserter:
    """Runs upsert streams.

    Args:
        writer: The index writer.
        searcher: The index searcher.
        embedder: Makes embeddings.
        window: Requests of one stream in work at once.
        slots: Requests of all streams in work at once.
    """

    def __init__(
        self, *, writer: WriterPort, searcher: SearchPort, embedder: Embedder, window: int, slots: int
    ) -> None:
        self._writer = writer
        self._searcher = searcher
        self._embedder = embedder
        self._window = window
        self._slots = asyncio.Semaphore(slots)

    async def run(self, commands: AsyncIterator[UpsertCommand]) -> AsyncGenerator[UpsertAck, None]:
        """Yield the acknowledgement of each command, in order.

        Raises:
            IsthmusError: a command cannot be done as a whole; those before it are acknowledged first.
        """
        stream = _Stream(self, commands, window=self._window, slots=self._slots)
        try:
            while (job := await stream.next_job()) is not None:
                ack = await self._commit(job)
                stream.done(job)
                yield ack
        finally:
            await stream.close()

    async def prepare(
        self, command: UpsertCommand, collections: dict[str, Collection], after: Sequence[asyncio.Event]
    ) -> _Prepared:
        """Make every embedding that a command needs.

        Args:
            command: What to store.
            collections: Those that this stream has met.
            after: Set when the commands are committed which this one must follow.
        """
        for committed in after:
            await committed.wait()
        name = command.collection
        items = {position: item for position, item in enumerate(command.items) if isinstance(item, CheckedItem)}
        collection = collections.get(name)
        # An alias may point elsewhere by now: it is resolved once a request, and one request goes to one collection.
        if collection is None or collection.name != name or not items:
            collection = collections[name] = await self._writer.get_collection(name)
        ids = [item.item_id for item in items.values()]
        digests, revision = await self._writer.look_up(collection.name, ids) if ids else ([], collection.revision)
        stored = {item_id: digest for item_id, digest in zip(ids, digests, strict=True) if digest is not None}
        plan = plan_upsert(command.items, collection=collection, stored=stored, refuse_long=command.refuse_long)
        prepared = _Prepared(collection, plan, revision)
        await self._reuse_stored(prepared, items)
        await gather_all(
            [self._embed(prepared, items, modality, refuse_long=command.refuse_long) for modality in plan.contents]
        )
        prepared.stages.cache_hits += len(plan.unchanged)
        _STORED.inc(len(plan.unchanged))
        prepared.truncated.sort()
        return prepared

    async def _reuse_stored(self, prepared: _Prepared, items: dict[int, CheckedItem]) -> None:
        """Take the embeddings of known contents from the collection; what is not to be had there is encoded."""
        plan = prepared.plan
        if not plan.stored:
            return
        ids = [items[position].item_id for position in plan.stored]
        try:
            vectors, _ = await self._searcher.get_vectors(prepared.collection.name, ids, min_revision=prepared.revision)
        except IsthmusError as error:
            log.warning("stored embeddings cannot be read; encoding", extra=fields(reason=error.reason))
            vectors = {}
        for position in plan.stored:
            item = items[position]
            found = vectors.get(item.item_id)
            space = prepared.collection.space(item.modality)
            same = (
                found is not None
                and isinstance(item.source, Content)
                and (found.content_digest, found.space) == (item.source.digest, space)
            )
            if found is not None and same:
                plan.drafts[position] = item.draft(found.row)
                prepared.stages.cache_hits += 1
                _STORED.inc()
            else:
                plan.encode(position, item.modality)

    async def _embed(
        self, prepared: _Prepared, items: dict[int, CheckedItem], modality: Modality, *, refuse_long: bool
    ) -> None:
        """Embed the contents of one modality."""
        plan = prepared.plan
        positions = plan.contents[modality]
        space = prepared.collection.space(modality)
        encoder = await self._embedder.info(modality)
        rows: Sequence[Row | IsthmusError] = ()
        if encoder.space == space:
            contents = [_content(items[position]) for position in positions]
            embedded = await self._embedder.embed(modality, contents, lane=Lane.BULK, refuse_long=refuse_long)
            prepared.stages.add(embedded.stages)
            encoder, rows = embedded.encoder, embedded.rows
        if encoder.space != space:
            for position in positions:
                plan.errors[position] = space_mismatch("encoder", space=encoder.space, expected=space)
            return
        for position, row in zip(positions, rows, strict=True):
            if isinstance(row, Row):
                plan.drafts[position] = items[position].draft(row)
                if row.truncated:
                    prepared.truncated.append(position)
            else:
                plan.errors[position] = row

    async def _commit(self, job: _Job) -> UpsertAck:
        if job.prepared is None:
            msg = "a job came to its commit before it was prepared"
            raise InternalError(msg)
        prepared = await job.prepared
        plan = prepared.plan
        errors = dict(plan.errors)
        receipt = UpsertReceipt(prepared.revision)
        if plan.drafts:
            positions = sorted(plan.drafts)
            receipt = await self._writer.upsert(
                prepared.collection,
                [plan.drafts[position] for position in positions],
                request_id=job.command.request_id,
            )
            errors |= {positions[index]: error for index, error in receipt.errors.items()}
        return UpsertAck(
            request_id=job.command.request_id,
            revision=receipt.revision,
            created_count=receipt.created_count,
            updated_count=receipt.updated_count,
            unchanged_count=receipt.unchanged_count + len(plan.unchanged),
            errors=errors,
            truncated=prepared.truncated,
            stages=prepared.stages,
            total_micros=int((time.monotonic() - job.started_s) * 1e6),
            collection=prepared.collection.name,
        )


class _Stream:
    """The jobs of one stream: read ahead, prepared side by side, handed out in order."""

    def __init__(
        self, upserter: Upserter, commands: AsyncIterator[UpsertCommand], *, window: int, slots: asyncio.Semaphore
    ) -> None:
        self._upserter = upserter
        self._commands = commands
        self._slots = slots
        self._window = asyncio.Semaphore(window)
        self._collections: dict[str, Collection] = {}
        self._in_work: list[_Job] = []
        # One more than the window: the end of the stream, or what broke it.
        self._ready: asyncio.Queue[_Job | Exception | None] = asyncio.Queue(maxsize=window + 1)
        self._reader = asyncio.create_task(self._read())

    async def next_job(self) -> _Job | None:
        """Return the next job in order, or None at the end of the stream.

        Raises:
            Exception: what reading the stream ended with, after all jobs before.
        """
        job = await self._ready.get()
        if isinstance(job, Exception):
            raise job
        return job

    def done(self, job: _Job) -> None:
        """Let the jobs go on that wait for this one."""
        job.committed.set()
        self._in_work.remove(job)
        self._slots.release()
        self._window.release()

    async def close(self) -> None:
        """Call off whatever is not done."""
        tasks: list[asyncio.Task[object]] = [self._reader]
        tasks += [job.prepared for job in self._in_work if job.prepared is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in self._in_work:
            self._slots.release()
        self._in_work.clear()

    async def _read(self) -> None:
        try:
            await self._window.acquire()
            async for command in self._commands:
                # A slot is taken when there is something to do: a silent stream must not keep others waiting.
                await self._slots.acquire()
                self._begin(command)
                await self._window.acquire()
        except Exception as error:  # noqa: BLE001 - it is raised again, in its turn, by `next_job`
            self._ready.put_nowait(error)
        else:
            self._ready.put_nowait(None)

    def _begin(self, command: UpsertCommand) -> None:
        ids = frozenset(item.item_id for item in command.items if isinstance(item, CheckedItem))
        job = _Job(command, ids, time.monotonic())
        after = [
            earlier.committed
            for earlier in self._in_work
            if earlier.command.collection == command.collection and not earlier.ids.isdisjoint(ids)
        ]
        self._in_work.append(job)
        job.prepared = asyncio.create_task(self._upserter.prepare(command, self._collections, after))
        self._ready.put_nowait(job)


def _content(item: CheckedItem) -> Content:
    if not isinstance(item.source, Content):
        msg = "an item with a vector was to be encoded"
        raise InternalError(msg)
    return item.source
