"""The calls about aliases, parts of the two index services, and their messages."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Protocol, TypeAlias

import grpc

from isthmus.index.aliases import RECALL_MARGIN, Alias, Comparison, SwitchTerms
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.runtime.base import context
from isthmus.v1 import alias_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceServicer
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceServicer

__all__ = ["AliasCalls", "ComparingCalls", "NamingRequest"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class NamingRequest(Protocol):
    """A read of a collection."""

    @property
    def collection(self) -> str:
        """Its name, or an alias."""

    @property
    def min_revision(self) -> int:
        """At least this revision; 0 for any."""


class AliasCalls(IndexWriterServiceServicer):
    """Aliases, a part of `IndexWriterService`."""

    _engine: WriterEngine

    async def SetAlias(
        self, request: index_writer_service_pb2.IndexWriterServiceSetAliasRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceSetAliasResponse:
        """Point an alias at a collection."""
        alias = await self._engine.set_alias(
            context.current().tenant,
            request.alias,
            request.collection,
            terms=SwitchTerms(
                comparison=_comparison(request.comparison) if request.HasField("comparison") else None,
                recall_margin=request.recall_margin if request.HasField("recall_margin") else RECALL_MARGIN,
                override_reason=request.override_reason,
                seed=request.seed,
            ),
            request_id=request.request_id,
        )
        return index_writer_service_pb2.IndexWriterServiceSetAliasResponse(alias=_alias_message(alias))

    async def DeleteAlias(
        self, request: index_writer_service_pb2.IndexWriterServiceDeleteAliasRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceDeleteAliasResponse:
        """Delete an alias."""
        await self._engine.delete_alias(context.current().tenant, request.alias, request_id=request.request_id)
        return index_writer_service_pb2.IndexWriterServiceDeleteAliasResponse()

    async def ListAliases(
        self, _request: index_writer_service_pb2.IndexWriterServiceListAliasesRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceListAliasesResponse:
        """List the tenant's aliases."""
        found = await self._engine.aliases(context.current().tenant)
        return index_writer_service_pb2.IndexWriterServiceListAliasesResponse(aliases=map(_alias_message, found))


class ComparingCalls(IndexSearchServiceServicer):
    """Comparing two collections, a part of `IndexSearchService`."""

    _engine: SearcherEngine

    async def CompareCollections(
        self, request: index_search_service_pb2.CompareCollectionsRequest, _context: _Context
    ) -> index_search_service_pb2.CompareCollectionsResponse:
        """Compare how two collections answer the same questions."""
        call = context.current()
        found = await self._engine.compare(
            call.tenant,
            (request.old_collection, request.new_collection),
            min_revisions=(request.old_min_revision, request.new_min_revision),
            seed=request.seed,
            timeout_s=call.remaining_s(),
        )
        return index_search_service_pb2.CompareCollectionsResponse(comparison=_comparison_message(found))


def _comparison(message: alias_pb2.AliasComparison) -> Comparison:
    return Comparison(**{entry.name: getattr(message, entry.name) for entry in fields(Comparison)})


def _comparison_message(found: Comparison) -> alias_pb2.AliasComparison:
    return alias_pb2.AliasComparison(**asdict(found))


def _alias_message(alias: Alias) -> alias_pb2.Alias:
    return alias_pb2.Alias(
        name=alias.name,
        collection=alias.collection,
        previous_collection=alias.previous,
        time_micros=alias.time_us,
        override_reason=alias.override_reason,
        comparison=None if alias.comparison is None else _comparison_message(alias.comparison),
    )
