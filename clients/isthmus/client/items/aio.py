"""Calls for storing, reading and deleting items, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.chunking import Chunk, Chunker
from isthmus.client.convert import item_message
from isthmus.client.inputs import Item, Truncation
from isthmus.client.items import decode, plan
from isthmus.client.items.async_streams import AsyncUpsertStream
from isthmus.client.items.results import DeleteResult, EraseResult, GetResult, UpsertAck, UpsertSummary
from isthmus.client.items.upsert import StreamBrokenError, UpsertSession
from isthmus.v1 import gateway_service_pb2

__all__ = ["AsyncItemCalls"]


class AsyncItemCalls(AsyncCalls):
    """Calls of `AsyncClient` for storing, reading and deleting items."""

    async def upsert(
        self,
        collection: str,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        progress: Callable[[UpsertAck], None] | None = None,
        timeout_s: float | None = None,
    ) -> UpsertSummary:
        """Store items, as many as `items` yields; return when all are durable. As `Client.upsert`."""
        acks = []
        async for ack in self.upsert_acks(
            collection, items, truncation=truncation, request_id=request_id, timeout_s=timeout_s
        ):
            acks.append(ack)
            if progress is not None:
                progress(ack)
        return decode.upsert_summary(acks)

    async def upsert_acks(
        self,
        collection: str,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[UpsertAck]:
        """Store items; yield an acknowledgement for each message once it is durable. As `Client.upsert_acks`."""
        session = UpsertSession(self._planner, collection, truncation=truncation, request_id=request_id)
        source = self._chunks(items)
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        while not session.done:
            try:
                async with AsyncUpsertStream(self._stub, endpoint=self._endpoint, timeout_s=limit_s) as stream:
                    async for ack in _pump(session, stream, source):
                        yield ack
            except StreamBrokenError as broken:
                await asyncio.sleep(session.pause_s(broken))
        for ack in session.leftover():
            yield ack

    async def delete(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Delete items; ids that are not there are passed over. As `Client.delete`."""
        return await self._run(plan.delete(self._planner, collection, ids, request_id=request_id), timeout_s)

    async def erase(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> EraseResult:
        """Delete items and remove every copy of them that the mesh keeps. As `Client.erase`."""
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        return await self._run(plan.erase(self._planner, collection, ids, request_id=request_id), limit_s)

    async def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        include_embeddings: bool = False,
        include_thumbnails: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        """Get items by id; one that is not there is left out. As `Client.get_items`."""
        return await self._run(
            plan.get_items(
                self._planner,
                collection,
                ids,
                include_embeddings=include_embeddings,
                include_thumbnails=include_thumbnails,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def _chunks(
        self, items: Iterable[Item] | AsyncIterable[Item]
    ) -> AsyncIterator[Chunk[gateway_service_pb2.UpsertItem]]:
        chunker: Chunker[gateway_service_pb2.UpsertItem] = Chunker(self._planner.config.limits)
        async for item in _each(items):
            works = item.image is not None and not isinstance(item.image, (bytes, bytearray, memoryview))
            full = chunker.push(await asyncio.to_thread(item_message, item) if works else item_message(item))
            if full is not None:
                yield full
        rest = chunker.close()
        if rest is not None:
            yield rest


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _pump(
    session: UpsertSession,
    stream: AsyncUpsertStream,
    source: AsyncIterator[Chunk[gateway_service_pb2.UpsertItem]],
) -> AsyncIterator[UpsertAck]:
    """Send what is not acknowledged yet, then what `source` yields, never more than the window allows."""
    session.begin()
    while not session.done:
        while session.may_send:
            request = session.again() or session.offer(await anext(source, None))
            if request is not None:
                await stream.send(request)
        if session.all_sent:
            await stream.end()
        if session.awaits:
            yield session.acknowledge(await stream.receive())
