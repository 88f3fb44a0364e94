"""Clients that write to an index writer and remember what it acknowledged, however it ends."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2
from isthmus.v1.index_writer_service_pb2 import (
    IndexWriterServiceDeleteItemsRequest,
    IndexWriterServiceUpsertItemsRequest,
    StoredItem,
)
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.unit.index.support import DIMENSION, SPACE, vectors

if TYPE_CHECKING:
    from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceAsyncStub

__all__ = ["WritingClient", "write_until"]

_POOL = vectors(0, 5_000)

Operation = IndexWriterServiceUpsertItemsRequest | IndexWriterServiceDeleteItemsRequest


@dataclass
class WritingClient:
    """One writer of a range of ids of its own, one request after the other.

    A request without an answer may have been applied or not; it is repeated, with its request id, before anything else.
    """

    number: int
    random: random.Random
    items: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """What was acknowledged and not deleted."""
    requests: int = 0
    answered: int = 0
    repeated: int = 0
    open: Operation | None = None
    last_revision: int = 0

    def _next(self) -> Operation:
        self.requests += 1
        request_id = f"{self.number}-{self.requests}"
        if self.items and self.random.random() < 0.25:
            ids = self.random.sample(sorted(self.items), min(3, len(self.items)))
            return IndexWriterServiceDeleteItemsRequest(collection="things", ids=ids, request_id=request_id)
        ids = sorted({f"{self.number}-{self.random.randrange(300)}" for _ in range(self.random.randint(1, 30))})
        # No vector comes twice, so every upsert changes something and takes a revision.
        start = (self.number * 1_250 + self.requests * 31) % (len(_POOL) - 31)
        return IndexWriterServiceUpsertItemsRequest(
            collection="things",
            items=[StoredItem(id=item_id, modality=common_pb2.MODALITY_IMAGE) for item_id in ids],
            image_embeddings=common_pb2.EmbeddingBatch(
                space=SPACE, vectors=encode_vectors(_POOL[start : start + len(ids)], half=True)
            ),
            request_id=request_id,
        )

    async def run(self, stub: IndexWriterServiceAsyncStub, stop: asyncio.Event) -> None:
        """Write until told to stop or until the service is gone."""
        while not stop.is_set():
            self.repeated += self.open is not None
            self.open = self.open or self._next()
            try:
                await self._send(stub, self.open)
            except grpc.aio.AioRpcError:
                return
            self.open = None
            self.answered += 1

    async def _send(self, stub: IndexWriterServiceAsyncStub, operation: Operation) -> None:
        if isinstance(operation, IndexWriterServiceDeleteItemsRequest):
            deleted = await stub.DeleteItems(operation, timeout=30)
            assert deleted.deleted_count == len(operation.ids)
            revision = deleted.revision
            for item_id in operation.ids:
                del self.items[item_id]
        else:
            answer = await stub.UpsertItems(operation, timeout=30)
            assert not answer.errors
            assert answer.created_count + answer.updated_count == len(operation.items)
            fresh = sum(item.id not in self.items for item in operation.items)
            assert answer.created_count == fresh
            revision = answer.revision
            rows = np.frombuffer(operation.image_embeddings.vectors.data, "<f2").astype(np.float32)
            for item, row in zip(operation.items, rows.reshape(-1, DIMENSION), strict=True):
                self.items[item.id] = row
        assert revision > self.last_revision
        self.last_revision = revision


async def write_until(process: Process, clients: list[WritingClient], seconds: float, *, kill: bool) -> None:
    """Let clients write for some seconds, then kill the writer in their midst or let them end."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub: IndexWriterServiceAsyncStub = IndexWriterServiceStub(channel)
        stop = asyncio.Event()
        running = [asyncio.ensure_future(client.run(stub, stop)) for client in clients]
        await asyncio.sleep(seconds)
        if kill:
            await asyncio.to_thread(process.kill)
        stop.set()
        await asyncio.gather(*running)
