"""The client for asyncio: `Client`, awaited. What is sent and how answers are read is written once, in `plan`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from isthmus.client import decode
from isthmus.client.aligner_folder import read_aligner_folder, write_aligner_folder
from isthmus.client.async_streams import AsyncUpsertStream
from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.chunking import Chunk, Chunker
from isthmus.client.config import ClientConfig, Tls, resolve_access
from isthmus.client.convert import item_message
from isthmus.client.fit import FitReader
from isthmus.client.inputs import AnyModality, FitOptions, GuardLimits, ImageLike, Input, Item, SpacedVector, Truncation
from isthmus.client.plan import Plan, Planner
from isthmus.client.results import (
    Aligner,
    Collection,
    Comparison,
    DeleteResult,
    EmbedResult,
    EvaluationReport,
    FitProgress,
    GapReport,
    GetResult,
    SearchResult,
    Status,
    UpsertAck,
    UpsertSummary,
    VerificationReport,
)
from isthmus.client.status import from_rpc_error
from isthmus.client.upsert import StreamBrokenError, UpsertSession
from isthmus.v1 import gateway_service_pb2, gateway_service_pb2_grpc

__all__ = ["AsyncClient"]

Result = TypeVar("Result")


class AsyncClient:
    """Talk to a mesh from one event loop. Files are read, and arrays compressed, in a thread.

        async with AsyncClient() as client:
            result = await client.search("photos", text="a sleeping cat")

    Args:
        address: `HOST:PORT`, `unix:PATH`, or `dns://SERVER/HOST:PORT` to ask one name server; a name that stands for
            several gateways is spread over all of them. None means the variable ISTHMUS_ADDRESS, else 127.0.0.1:7480.
        tls: How the mesh is known; None means the configuration's.
        api_key: Who calls; None means the configuration's.
        config: Deadlines, sizes and patience; TLS and key too, and what it leaves open the environment says.

    Raises:
        ValueError: the address has another form, or the key would travel in the clear to another machine.
        OSError: a file of TLS cannot be read.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        tls: Tls | None = None,
        api_key: str | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        settled = resolve_access(config or ClientConfig(), tls=tls, api_key=api_key)
        self._endpoint = Endpoint.resolve(address, settled)
        self.address = self._endpoint.address
        self._planner = Planner(settled)
        # Made with the first call: a channel belongs to the event loop that is running then.
        self._channel: grpc.aio.Channel | None = None
        self._made_stub: Any = None

    async def close(self) -> None:
        """Close the connection; calls on their way are cancelled. Closing twice is fine."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def embed(
        self,
        *,
        images: Iterable[ImageLike] = (),
        texts: Iterable[str] = (),
        inputs: Iterable[Input] = (),
        truncation: Truncation = "flag",
        aligner: str = "",
        timeout_s: float | None = None,
    ) -> EmbedResult:
        """Embed images and texts. As `Client.embed`."""
        return await self._run(
            self._planner.embed(images=images, texts=texts, inputs=inputs, truncation=truncation, aligner=aligner),
            timeout_s,
        )

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
        return await self._run(self._planner.delete(collection, ids, request_id=request_id), timeout_s)

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
            self._planner.get_items(
                collection,
                ids,
                include_embeddings=include_embeddings,
                include_thumbnails=include_thumbnails,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def search(
        self,
        collection: str,
        *,
        text: str | None = None,
        image: ImageLike | None = None,
        vector: SpacedVector | None = None,
        item_id: str | None = None,
        modality: AnyModality = "any",
        top_k: int = 10,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to one query. As `Client.search`."""
        return await self._run(
            self._planner.search(
                collection,
                text=text,
                image=image,
                vector=vector,
                item_id=item_id,
                modality=modality,
                top_k=top_k,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def create_collection(
        self,
        name: str,
        *,
        image_space: str = "",
        text_space: str = "",
        image_dimension: int = 0,
        text_dimension: int = 0,
        aligner: str = "",
        store_thumbnails: bool = False,
        guard: GuardLimits | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Create a collection. As `Client.create_collection`."""
        return await self._run(
            self._planner.create_collection(
                name,
                image_space=image_space,
                text_space=text_space,
                image_dimension=image_dimension,
                text_dimension=text_dimension,
                aligner=aligner,
                store_thumbnails=store_thumbnails,
                guard=guard,
                request_id=request_id,
            ),
            timeout_s,
        )

    async def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Get a collection. As `Client.get_collection`."""
        return await self._run(self._planner.get_collection(name), timeout_s)

    async def list_collections(self, *, timeout_s: float | None = None) -> tuple[Collection, ...]:
        """List the collections by name. As `Client.list_collections`."""
        return await self._run(self._planner.list_collections(), timeout_s)

    async def delete_collection(
        self, name: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Delete a collection and its items. As `Client.delete_collection`."""
        await self._run(self._planner.delete_collection(name, request_id=request_id), timeout_s)

    async def evaluate(
        self,
        collection: str,
        *,
        through_search: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> EvaluationReport:
        """Judge retrieval over the collection's pairs. As `Client.evaluate`."""
        return await self._run(
            self._planner.evaluate(collection, through_search=through_search, min_revision=min_revision), timeout_s
        )

    async def measure_gap(
        self,
        collection: str,
        *,
        aligner: str = "",
        seed: int = 0,
        sample_count: int = 0,
        compare_distances: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GapReport:
        """Measure the gap between the modalities. As `Client.measure_gap`."""
        return await self._run(
            self._planner.measure_gap(
                collection,
                aligner=aligner,
                seed=seed,
                sample_count=sample_count,
                compare_distances=compare_distances,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def verify_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> VerificationReport:
        """Judge an aligner on held-out pairs. As `Client.verify_aligner`."""
        return await self._run(
            self._planner.verify_aligner(collection, aligner, seed=seed, min_revision=min_revision), timeout_s
        )

    async def compare_aligners(
        self,
        collection: str,
        *,
        methods: Sequence[str] = (),
        hubness: bool = False,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Fit methods to the collection's pairs and judge all alike. As `Client.compare_aligners`."""
        return await self._run(
            self._planner.compare_aligners(collection, methods, hubness=hubness, seed=seed, min_revision=min_revision),
            timeout_s,
        )

    async def list_aligners(self, *, timeout_s: float | None = None) -> tuple[Aligner, ...]:
        """List the aligners by name. As `Client.list_aligners`."""
        return await self._run(self._planner.list_aligners(), timeout_s)

    async def get_aligner(self, aligner: str, *, timeout_s: float | None = None) -> Aligner:
        """Get one aligner. As `Client.get_aligner`."""
        return await self._run(self._planner.get_aligner(aligner), timeout_s)

    async def export_aligner(
        self, aligner: str, folder: str | os.PathLike[str], *, timeout_s: float | None = None
    ) -> Aligner:
        """Write an aligner's artefact to a folder. As `Client.export_aligner`."""
        found, manifest, tensors = await self._run(self._planner.export_aligner(aligner), timeout_s)
        await asyncio.to_thread(write_aligner_folder, folder, manifest, tensors)
        return found

    async def fit_aligner(
        self,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        request_id: str | None = None,
        progress: Callable[[FitProgress], None] | None = None,
        timeout_s: float | None = None,
    ) -> Aligner:
        """Fit an aligner to a collection's pairs. As `Client.fit_aligner`."""
        request = self._planner.fit_request(
            collection,
            aligner_id=aligner_id,
            method=method,
            options=options,
            seed=seed,
            min_revision=min_revision,
            request_id=request_id,
        )
        reader, call_id = FitReader(progress), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            async for message in self._stub.FitAligner(
                request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)
            ):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()

    async def import_aligner(
        self, folder: str | os.PathLike[str], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Aligner:
        """Keep an aligner that was trained elsewhere. As `Client.import_aligner`."""
        manifest, tensors = await asyncio.to_thread(read_aligner_folder, folder)
        return await self._run(self._planner.import_aligner(manifest, tensors, request_id=request_id), timeout_s)

    async def promote_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        allow_unverified: bool = False,
        override_reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Make an aligner the active one of a collection. As `Client.promote_aligner`."""
        return await self._run(
            self._planner.promote_aligner(
                collection,
                aligner,
                allow_unverified=allow_unverified,
                override_reason=override_reason,
                request_id=request_id,
            ),
            timeout_s,
        )

    async def rollback_aligner(
        self, collection: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Collection:
        """Make the aligner before the active one active again. As `Client.rollback_aligner`."""
        return await self._run(self._planner.rollback_aligner(collection, request_id=request_id), timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """Return what the mesh is made of and how it is. As `Client.status`."""
        return await self._run(self._planner.status(), timeout_s)

    @property
    def _stub(self) -> Any:
        if self._channel is None:
            self._channel = self._endpoint.open_async()
            self._made_stub = gateway_service_pb2_grpc.GatewayServiceStub(self._channel)
        return self._made_stub

    async def _run(self, plan: Plan[Result], timeout_s: float | None) -> Result:
        method = getattr(self._stub, plan.method)
        limit_s = plan.timeout_s if timeout_s is None else timeout_s
        answers: list[Any] = []
        requests = iter(plan.requests)
        while True:
            request = await asyncio.to_thread(next, requests, None) if plan.reads_files else next(requests, None)
            if request is None:
                return plan.decode(answers)
            call_id = new_request_id()
            try:
                answers.append(await method(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)))
            except grpc.RpcError as error:
                raise from_rpc_error(error, address=self.address, request_id=call_id) from error

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
