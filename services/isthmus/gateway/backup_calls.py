"""The calls that copy a collection and bring it back: to the index searcher and the index writer, and back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.names import check_name, check_request_id
from isthmus.runtime.rpc.channel import call, stream
from isthmus.v1 import gateway_service_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["BackupCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]


class BackupCalls(GatewayServiceServicer):
    """Backups, a part of `GatewayService`. Parts pass through; the gateway keeps none.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def BackupCollection(
        self, request: gateway_service_pb2.BackupCollectionRequest, _context: _Context
    ) -> AsyncGenerator[gateway_service_pb2.BackupCollectionResponse, None]:
        """Copy a collection at one revision."""
        parts = stream(
            self._gateway.searcher.stub.BackupCollection,
            index_search_service_pb2.IndexSearchServiceBackupCollectionRequest(
                collection=check_name(request.collection, field="collection"), min_revision=request.min_revision
            ),
            backend="index_search",
        )
        async with contextlib.aclosing(parts):
            async for answer in parts:
                yield gateway_service_pb2.BackupCollectionResponse(part=answer.part)

    async def RestoreCollection(
        self, request_iterator: AsyncIterator[gateway_service_pb2.RestoreCollectionRequest], _context: _Context
    ) -> gateway_service_pb2.RestoreCollectionResponse:
        """Restore a collection from a backup."""
        first = await anext(request_iterator, None)
        if first is None:
            msg = "collection is required, in the first message"
            raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "collection"})
        check_name(first.collection, field="collection")
        check_request_id(first.request_id)
        # A call of many requests is awaited like one of a single request.
        restoring = cast("grpc.aio.UnaryUnaryMultiCallable[Any, Any]", self._gateway.writer.stub.RestoreCollection)
        answer = await call(restoring, _passed_on(first, request_iterator), backend="index_writer")
        return gateway_service_pb2.RestoreCollectionResponse(
            collection=answer.collection,
            restored_revision=answer.restored_revision,
            created_count=answer.created_count,
            updated_count=answer.updated_count,
            deleted_count=answer.deleted_count,
            unchanged_count=answer.unchanged_count,
        )


async def _passed_on(
    first: gateway_service_pb2.RestoreCollectionRequest,
    rest: AsyncIterator[gateway_service_pb2.RestoreCollectionRequest],
) -> AsyncGenerator[index_writer_service_pb2.IndexWriterServiceRestoreCollectionRequest, None]:
    yield index_writer_service_pb2.IndexWriterServiceRestoreCollectionRequest(
        collection=first.collection,
        to_revision=first.to_revision,
        request_id=first.request_id,
        part=first.part if first.HasField("part") else None,
    )
    async for request in rest:
        yield index_writer_service_pb2.IndexWriterServiceRestoreCollectionRequest(part=request.part)
