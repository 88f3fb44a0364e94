"""The calls about aliases: to the index writer, and before a switch to the searcher, which compares."""

from __future__ import annotations

from typing import Any, Final

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.names import check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import alias_pb2, gateway_service_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["AliasCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]

_COMPARE_TIMEOUT_S: Final = 120.0
"""Two collections of a million items each, searched one by one, take about half a minute."""


class AliasCalls(GatewayServiceServicer):
    """Aliases, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def SetAlias(
        self, request: gateway_service_pb2.SetAliasRequest, _context: _Context
    ) -> gateway_service_pb2.SetAliasResponse:
        """Point a name at a collection; the writer holds a switch to what the comparison says."""
        alias = check_name(request.alias, field="alias")
        collection = check_name(request.collection, field="collection")
        request_id = check_request_id(request.request_id)
        asked = index_writer_service_pb2.IndexWriterServiceSetAliasRequest(
            alias=alias,
            collection=collection,
            override_reason=request.override_reason,
            seed=request.seed,
            request_id=request_id,
        )
        if request.HasField("recall_margin"):
            asked.recall_margin = request.recall_margin
        if not request.override_reason:
            comparison = await self._compared(alias, collection, seed=request.seed)
            if comparison is not None:
                asked.comparison.CopyFrom(comparison)
        answer = await call(self._gateway.writer.stub.SetAlias, asked, backend="index_writer")
        return gateway_service_pb2.SetAliasResponse(alias=answer.alias)

    async def DeleteAlias(
        self, request: gateway_service_pb2.DeleteAliasRequest, _context: _Context
    ) -> gateway_service_pb2.DeleteAliasResponse:
        """Delete an alias."""
        await call(
            self._gateway.writer.stub.DeleteAlias,
            index_writer_service_pb2.IndexWriterServiceDeleteAliasRequest(
                alias=check_name(request.alias, field="alias"), request_id=check_request_id(request.request_id)
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.DeleteAliasResponse()

    async def ListAliases(
        self, _request: gateway_service_pb2.ListAliasesRequest, _context: _Context
    ) -> gateway_service_pb2.ListAliasesResponse:
        """List the aliases."""
        return gateway_service_pb2.ListAliasesResponse(aliases=await self._aliases())

    async def _aliases(self) -> list[alias_pb2.Alias]:
        answer = await call(
            self._gateway.writer.stub.ListAliases,
            index_writer_service_pb2.IndexWriterServiceListAliasesRequest(),
            backend="index_writer",
        )
        return list(answer.aliases)

    async def _compared(self, alias: str, collection: str, *, seed: int) -> alias_pb2.AliasComparison | None:
        """Return how the collection that an alias points at and another one answer; None where nothing is switched."""
        before = next((one.collection for one in await self._aliases() if one.name == alias), collection)
        if before == collection:
            return None
        old, new = [await self._gateway.writer.get_collection(name) for name in (before, collection)]
        answer = await call(
            self._gateway.searcher.stub.CompareCollections,
            index_search_service_pb2.CompareCollectionsRequest(
                old_collection=old.name,
                new_collection=new.name,
                old_min_revision=old.revision,
                new_min_revision=new.revision,
                seed=seed,
            ),
            backend="index_search",
            timeout_s=_COMPARE_TIMEOUT_S,
        )
        return answer.comparison
