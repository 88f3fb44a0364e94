"""`isthmus.v1.GatewayService`: the wire to the engine and back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import grpc

from isthmus.gateway.access import KeyedDoor
from isthmus.gateway.alias_calls import AliasCalls
from isthmus.gateway.aligner_calls import AlignerCalls
from isthmus.gateway.assembly import Gateway
from isthmus.gateway.backup_calls import BackupCalls
from isthmus.gateway.batch_calls import BatchCalls
from isthmus.gateway.collections import NewCollection, SpaceChoice
from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.erase_calls import EraseCalls
from isthmus.gateway.import_calls import ImportCalls
from isthmus.gateway.judging_calls import JudgingCalls
from isthmus.gateway.link_calls import LinkCalls
from isthmus.gateway.matching_calls import MatchingCalls
from isthmus.gateway.messages import collection_message
from isthmus.gateway.upsert import UpsertCommand
from isthmus.gateway.watch_calls import WatchCalls
from isthmus.gateway.wire import (
    checked_contents,
    checked_items,
    embed_response,
    refuses_long,
    report_message,
    search_command,
    search_response,
    upsert_response,
)
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.limits import (
    EMBED_MAX_COUNT,
    GATEWAY_RECEIVE_MAX_BYTES,
    UPSERT_MAX_COUNT,
)
from isthmus.runtime.base.names import check_count, check_item_id, check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.runtime.rpc.guard import guard_terms
from isthmus.runtime.rpc.server import Hosted, Registration
from isthmus.runtime.rpc.structure_kinds import kind_of
from isthmus.v1 import (
    alignment_service_pb2,
    gateway_service_pb2,
    index_search_service_pb2,
    index_writer_service_pb2,
)
from isthmus.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server

__all__ = ["GatewayServicer", "build"]

_STRUCTURES_TIMEOUT_S: Final = 1.0
"""What a description of a collection waits at most for what its structures are."""

_Context = grpc.aio.ServicerContext[Any, Any]


def _micros_since(started_s: float) -> int:
    return int((time.monotonic() - started_s) * 1e6)


class GatewayServicer(
    AlignerCalls,
    AliasCalls,
    BackupCalls,
    BatchCalls,
    JudgingCalls,
    MatchingCalls,
    WatchCalls,
    LinkCalls,
    ImportCalls,
    EraseCalls,
):
    """Checks requests, asks the engine, packs answers.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self._engine = gateway.engine

    async def Embed(
        self, request: gateway_service_pb2.EmbedRequest, _context: _Context
    ) -> gateway_service_pb2.EmbedResponse:
        """Embed images and texts."""
        started_s = time.monotonic()
        inputs = request.inputs
        check_count(inputs, field="inputs", limit=EMBED_MAX_COUNT)
        refuse_long = refuses_long(request.truncation)
        contents = await self._gateway.offload.run(
            partial(checked_contents, inputs), size_bytes=request.ByteSize(), count=len(inputs)
        )
        answer = await self._engine.embed(contents, refuse_long=refuse_long, aligner=request.aligner)
        return embed_response(answer, total_micros=_micros_since(started_s))

    async def UpsertItems(
        self, request_iterator: AsyncIterator[gateway_service_pb2.UpsertItemsRequest], _context: _Context
    ) -> AsyncGenerator[gateway_service_pb2.UpsertItemsResponse, None]:
        """Store items; one acknowledgement a request, in order, once it is durable."""
        async with contextlib.aclosing(self._engine.upserter.run(self._upsert_commands(request_iterator))) as acks:
            async for ack in acks:
                yield upsert_response(ack)

    async def _upsert_commands(
        self, requests: AsyncIterator[gateway_service_pb2.UpsertItemsRequest]
    ) -> AsyncIterator[UpsertCommand]:
        async for request in requests:
            name = check_name(request.collection, field="collection")
            items = request.items
            check_count(items, field="items", limit=UPSERT_MAX_COUNT)
            yield UpsertCommand(
                collection=name,
                request_id=check_request_id(request.request_id),
                refuse_long=refuses_long(request.truncation),
                items=await self._gateway.offload.run(
                    partial(checked_items, items), size_bytes=request.ByteSize(), count=len(items)
                ),
            )

    async def SearchItems(
        self, request: gateway_service_pb2.SearchItemsRequest, _context: _Context
    ) -> gateway_service_pb2.SearchItemsResponse:
        """Find the items nearest to a text, an image, a vector or another item."""
        started_s = time.monotonic()
        command = await self._gateway.offload.run(partial(search_command, request), size_bytes=request.ByteSize())
        answer = await self._engine.seeker.search(command)
        return search_response(answer, total_micros=_micros_since(started_s))

    async def GetItems(
        self, request: gateway_service_pb2.GetItemsRequest, _context: _Context
    ) -> gateway_service_pb2.GetItemsResponse:
        """Get items by id."""
        answer = await call(
            self._gateway.searcher.stub.GetItems,
            index_search_service_pb2.IndexSearchServiceGetItemsRequest(
                collection=check_name(request.collection, field="collection"),
                ids=_checked_ids(request.ids),
                include_embeddings=request.include_embeddings,
                include_thumbnails=request.include_thumbnails,
                min_revision=request.min_revision,
            ),
            backend="index_search",
        )
        return gateway_service_pb2.GetItemsResponse(
            items=answer.items, revision=answer.revision, collection=answer.collection
        )

    async def DeleteItems(
        self, request: gateway_service_pb2.DeleteItemsRequest, _context: _Context
    ) -> gateway_service_pb2.DeleteItemsResponse:
        """Delete items."""
        answer = await call(
            self._gateway.writer.stub.DeleteItems,
            index_writer_service_pb2.IndexWriterServiceDeleteItemsRequest(
                collection=check_name(request.collection, field="collection"),
                ids=_checked_ids(request.ids),
                request_id=check_request_id(request.request_id),
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.DeleteItemsResponse(
            revision=answer.revision, deleted_count=answer.deleted_count, collection=answer.collection
        )

    async def CreateCollection(
        self, request: gateway_service_pb2.CreateCollectionRequest, _context: _Context
    ) -> gateway_service_pb2.CreateCollectionResponse:
        """Create a collection."""
        collection = await self._engine.keeper.create(
            NewCollection(
                name=check_name(request.name, field="name"),
                image=SpaceChoice(request.image_space, request.image_dimension),
                text=SpaceChoice(request.text_space, request.text_dimension),
                aligner=request.aligner,
                store_thumbnails=request.store_thumbnails,
                keyword_search=request.keyword_search,
                guard=guard_terms(request.guard),
                index=kind_of(request.index, field="index"),
                request_id=check_request_id(request.request_id),
            )
        )
        return gateway_service_pb2.CreateCollectionResponse(collection=collection_message(collection))

    async def GetCollection(
        self, request: gateway_service_pb2.GetCollectionRequest, _context: _Context
    ) -> gateway_service_pb2.GetCollectionResponse:
        """Get one collection, and what a searcher searches it by where one says so in time."""
        collection = await self._gateway.writer.get_collection(check_name(request.name, field="name"))
        message = collection_message(collection)
        with contextlib.suppress(IsthmusError):
            asked = index_search_service_pb2.GetStructuresRequest(collection=collection.name)
            ask = self._gateway.searcher.stub.GetStructures
            answer = await call(ask, asked, backend="index_search", timeout_s=_STRUCTURES_TIMEOUT_S)
            message.structures.extend(answer.structures)
        return gateway_service_pb2.GetCollectionResponse(collection=message)

    async def ListCollections(
        self, _request: gateway_service_pb2.ListCollectionsRequest, _context: _Context
    ) -> gateway_service_pb2.ListCollectionsResponse:
        """List the collections."""
        answer = await call(
            self._gateway.writer.stub.ListCollections,
            index_writer_service_pb2.IndexWriterServiceListCollectionsRequest(),
            backend="index_writer",
        )
        return gateway_service_pb2.ListCollectionsResponse(collections=answer.collections)

    async def DeleteCollection(
        self, request: gateway_service_pb2.DeleteCollectionRequest, _context: _Context
    ) -> gateway_service_pb2.DeleteCollectionResponse:
        """Delete a collection and its items."""
        await call(
            self._gateway.writer.stub.DeleteCollection,
            index_writer_service_pb2.IndexWriterServiceDeleteCollectionRequest(
                name=check_name(request.name, field="name"), request_id=check_request_id(request.request_id)
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.DeleteCollectionResponse()

    async def Evaluate(
        self, request: gateway_service_pb2.EvaluateRequest, _context: _Context
    ) -> gateway_service_pb2.EvaluateResponse:
        """Judge retrieval over a collection's pairs."""
        name = check_name(request.collection, field="collection")
        if request.through_search:
            report = await self._engine.evaluator.evaluate(name, min_revision=request.min_revision)
            return gateway_service_pb2.EvaluateResponse(report=report_message(report))
        answer = await call(
            self._gateway.alignment.stub.Evaluate,
            alignment_service_pb2.AlignmentServiceEvaluateRequest(collection=name, min_revision=request.min_revision),
            backend="alignment",
        )
        return gateway_service_pb2.EvaluateResponse(report=answer.report)

    async def GetStatus(
        self, _request: gateway_service_pb2.GetStatusRequest, _context: _Context
    ) -> gateway_service_pb2.GetStatusResponse:
        """Say what the mesh is made of and how it is."""
        return await self._gateway.state.status()


def _checked_ids(ids: Sequence[str]) -> list[str]:
    check_count(ids, field="ids", limit=UPSERT_MAX_COUNT)
    return [check_item_id(item_id) for item_id in ids]


def build(config: GatewayConfig) -> Hosted:
    """Return a gateway to host; needs a running event loop.

    Raises:
        ValueError: the secret's file or the Redis URL is wrong.
        OSError: the secret's file cannot be made or read.
        UnusableFileError: the keys' file is broken.
    """
    door = None if config.keys_file is None else KeyedDoor(config.keys_file)
    gateway = Gateway(config)
    servicer = GatewayServicer(gateway)

    def register(server: grpc.aio.Server) -> None:
        add_GatewayServiceServicer_to_server(servicer, server)

    return Hosted(
        name="gateway",
        registrations=[Registration("isthmus.v1.GatewayService", register)],
        warm=gateway.warm,
        close=gateway.close,
        public=True,
        door=door,
        receive_max_bytes=GATEWAY_RECEIVE_MAX_BYTES,
    )
