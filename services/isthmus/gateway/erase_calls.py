"""The call that erases items: from the store, from the caches of embeddings, from the searcher's files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.limits import UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import erasing_pb2, gateway_service_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["EraseCalls"]

_STORE_TIMEOUT_S: Final = 600.0
_FILES_TIMEOUT_S: Final = 60.0


class EraseCalls(GatewayServiceServicer):
    """Erasing, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def EraseItems(
        self, request: gateway_service_pb2.EraseItemsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> gateway_service_pb2.EraseItemsResponse:
        """Delete items and remove every copy of them that the mesh keeps."""
        check_count(request.ids, field="ids", limit=UPSERT_MAX_COUNT)
        stored = await call(
            self._gateway.writer.stub.EraseItems,
            index_writer_service_pb2.IndexWriterServiceEraseItemsRequest(
                collection=check_name(request.collection, field="collection"),
                ids=request.ids,
                request_id=check_request_id(request.request_id),
            ),
            backend="index_writer",
            timeout_s=_STORE_TIMEOUT_S,
        )
        gaps = [erasing_pb2.ERASURE_GAP_BACKUPS, *stored.gaps]
        if not await self._forget_embeddings(stored.content_digests):
            gaps.append(erasing_pb2.ERASURE_GAP_SHARED_CACHE)
        if not await self._forget_files(stored.collection, stored.revision):
            gaps.append(erasing_pb2.ERASURE_GAP_SEARCHER_FILES)
        return gateway_service_pb2.EraseItemsResponse(
            revision=stored.revision,
            deleted_count=stored.deleted_count,
            time_micros=time.time_ns() // 1_000,
            gaps=sorted(set(gaps)),
            collection=stored.collection,
        )

    async def _forget_embeddings(self, digests: Sequence[bytes]) -> bool:
        """Drop what is cached of contents; return whether the shared cache, if there is one, has done so."""
        engine = self._gateway.engine
        return await engine.cache.forget(engine.embedder.known_keys(context.current().tenant, digests))

    async def _forget_files(self, collection: str, revision: int) -> bool:
        """Have the searcher remove its cache files; return whether it has."""
        request = index_search_service_pb2.ForgetErasedRequest(collection=collection, min_revision=revision)
        try:
            answer = await call(
                self._gateway.searcher.stub.ForgetErased, request, backend="index_search", timeout_s=_FILES_TIMEOUT_S
            )
        except IsthmusError:
            return False  # the store is clear of the items, which is what cannot be repeated cheaply
        return bool(answer.removed)
