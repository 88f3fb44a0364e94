"""The calls of the index that erase items."""

from __future__ import annotations

from typing import Any, Final

import grpc

from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.erasing import Gap
from isthmus.runtime.base import context
from isthmus.v1 import erasing_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceServicer
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceServicer

__all__ = ["EraseCalls", "ForgetCalls"]

_GAPS: Final = {
    Gap.SHARED_CACHE: erasing_pb2.ERASURE_GAP_SHARED_CACHE,
    Gap.UNFINISHED_WRITES: erasing_pb2.ERASURE_GAP_UNFINISHED_WRITES,
    Gap.IMPORT_FOLDER: erasing_pb2.ERASURE_GAP_IMPORT_FOLDER,
}


class EraseCalls(IndexWriterServiceServicer):
    """Erasing, a part of `IndexWriterService`."""

    _engine: WriterEngine

    async def EraseItems(
        self,
        request: index_writer_service_pb2.IndexWriterServiceEraseItemsRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_writer_service_pb2.IndexWriterServiceEraseItemsResponse:
        """Delete items and remove every copy of them from the store."""
        tenant = context.current().tenant
        name = await self._engine.resolve(tenant, request.collection)
        erased = await self._engine.eraser.erase(tenant, name, ids=request.ids, request_id=request.request_id)
        return index_writer_service_pb2.IndexWriterServiceEraseItemsResponse(
            revision=erased.revision,
            deleted_count=erased.deleted_count,
            content_digests=erased.digests,
            gaps=[_GAPS[gap] for gap in erased.gaps],
            collection=name,
        )


class ForgetCalls(IndexSearchServiceServicer):
    """Forgetting what was erased, a part of `IndexSearchService`."""

    _engine: SearcherEngine

    async def ForgetErased(
        self,
        request: index_search_service_pb2.ForgetErasedRequest,
        _context: grpc.aio.ServicerContext[Any, Any],
    ) -> index_search_service_pb2.ForgetErasedResponse:
        """Remove the cache files of a collection."""
        call = context.current()
        removed = await self._engine.forget_erased(
            call.tenant, request.collection, min_revision=request.min_revision, timeout_s=call.remaining_s()
        )
        return index_search_service_pb2.ForgetErasedResponse(removed=removed)
