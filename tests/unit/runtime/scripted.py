"""A service whose methods do what a test says, on a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1 import encoder_service_pb2, index_search_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceServicer, add_EncoderServiceServicer_to_server
from isthmus.v1.index_search_service_pb2_grpc import (
    IndexSearchServiceServicer,
    add_IndexSearchServiceServicer_to_server,
)

__all__ = ["Scripted", "serving"]


async def _nothing() -> None:
    return


class Scripted(EncoderServiceServicer, IndexSearchServiceServicer):
    """One unary method (Encode) and one streaming method (ReadItems).

    Attributes:
        unary: What Encode does.
        streaming: What ReadItems does.
        warmed: What warming does.
        closed: How often it was closed.
    """

    def __init__(self) -> None:
        self.unary: Callable[[], Awaitable[None]] = _nothing
        self.streaming: Callable[[], AsyncIterator[None]] | None = None
        self.warmed: Callable[[], Awaitable[None]] = _nothing
        self.closed = 0

    async def GetEncoder(
        self, _request: encoder_service_pb2.GetEncoderRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_service_pb2.GetEncoderResponse:
        """Answer."""
        return encoder_service_pb2.GetEncoderResponse()

    async def Encode(
        self, _request: encoder_service_pb2.EncodeRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_service_pb2.EncodeResponse:
        """Do what the test says."""
        await self.unary()
        return encoder_service_pb2.EncodeResponse()

    async def Search(
        self, _request: index_search_service_pb2.SearchRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> index_search_service_pb2.SearchResponse:
        """Answer."""
        return index_search_service_pb2.SearchResponse()

    async def GetItems(
        self,
        _request: index_search_service_pb2.IndexSearchServiceGetItemsRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.IndexSearchServiceGetItemsResponse:
        """Answer."""
        return index_search_service_pb2.IndexSearchServiceGetItemsResponse()

    async def MatchPairs(
        self,
        _request: index_search_service_pb2.IndexSearchServiceMatchPairsRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.IndexSearchServiceMatchPairsResponse:
        """Answer."""
        return index_search_service_pb2.IndexSearchServiceMatchPairsResponse()

    async def GetShadowReport(
        self,
        _request: index_search_service_pb2.IndexSearchServiceGetShadowReportRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.IndexSearchServiceGetShadowReportResponse:
        """Answer."""
        return index_search_service_pb2.IndexSearchServiceGetShadowReportResponse()

    async def GetStructures(
        self,
        _request: index_search_service_pb2.GetStructuresRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.GetStructuresResponse:
        """Answer."""
        return index_search_service_pb2.GetStructuresResponse()

    async def ListValues(
        self,
        _request: index_search_service_pb2.ListValuesRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.ListValuesResponse:
        """Answer."""
        return index_search_service_pb2.ListValuesResponse()

    async def ListFollowed(
        self,
        _request: index_search_service_pb2.ListFollowedRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.ListFollowedResponse:
        """Answer."""
        return index_search_service_pb2.ListFollowedResponse()

    async def SearchShard(self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Answer."""
        return index_search_service_pb2.SearchShardResponse()

    async def GetShardVectors(self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Answer."""
        return index_search_service_pb2.GetShardVectorsResponse()

    async def ForgetErased(self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Answer."""
        return index_search_service_pb2.ForgetErasedResponse()

    async def CompareCollections(self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Answer."""
        return index_search_service_pb2.CompareCollectionsResponse()

    async def BackupCollection(
        self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[Any, None]:
        """Answer."""
        yield index_search_service_pb2.IndexSearchServiceBackupCollectionResponse()

    async def ReadItems(
        self, _request: index_search_service_pb2.ReadItemsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[index_search_service_pb2.ReadItemsResponse, None]:
        """Do what the test says."""
        if self.streaming is not None:
            async for _ in self.streaming():
                yield index_search_service_pb2.ReadItemsResponse(ids=["one"])

    def hosted(self, *, public: bool = False, receive_max_bytes: int = 1 << 20, max_calls: int = 100) -> Hosted:
        """Return it as a service that can be hosted."""

        async def _close() -> None:
            self.closed += 1

        async def _warm() -> None:
            await self.warmed()

        return Hosted(
            name="scripted",
            registrations=[
                Registration(
                    "isthmus.v1.EncoderService", lambda server: add_EncoderServiceServicer_to_server(self, server)
                ),
                Registration(
                    "isthmus.v1.IndexSearchService",
                    lambda server: add_IndexSearchServiceServicer_to_server(self, server),
                ),
            ],
            warm=_warm,
            close=_close,
            public=public,
            receive_max_bytes=receive_max_bytes,
            max_concurrent_calls=max_calls,
        )


@contextlib.asynccontextmanager
async def serving(service: Scripted, **how: Any) -> AsyncIterator[tuple[RpcServer, grpc.aio.Channel]]:
    """Serve it, warm, and open a channel to it."""
    server = RpcServer(service.hosted(**how), "127.0.0.1:0")
    await server.start()
    await server.warm()
    try:
        async with grpc.aio.insecure_channel(
            server.address, options=(("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            yield server, channel
    finally:
        await server.drain(grace_s=0.5)
