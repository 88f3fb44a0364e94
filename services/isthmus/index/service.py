"""`IndexWriterService` and `IndexSearchService` over the two engines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias

import grpc

from isthmus.index import wire
from isthmus.index.alias_calls import AliasCalls, ComparingCalls
from isthmus.index.backup_calls import BackupCalls, RestoreCalls
from isthmus.index.config import IndexConfig
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.erase_service import EraseCalls, ForgetCalls
from isthmus.index.import_wire import import_message
from isthmus.index.importing import ImportFile
from isthmus.index.model import CollectionSettings, NotesWanted, SearchResult
from isthmus.index.news_stream import WriterNews, news_message
from isthmus.index.pair_rows import PairSampling
from isthmus.index.promotion import PromotionTerms
from isthmus.index.structure_calls import StructureCalls
from isthmus.runtime.base import context
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, FOLLOWED_MAX_COUNT
from isthmus.runtime.base.names import check_count
from isthmus.runtime.rpc.answer_terms import answer_terms_of, is_basic
from isthmus.runtime.rpc.codec import decode_vectors
from isthmus.runtime.rpc.filters import filter_of
from isthmus.runtime.rpc.guard import guard_terms
from isthmus.runtime.rpc.matching import match_terms
from isthmus.runtime.rpc.server import Hosted, Registration
from isthmus.runtime.rpc.status import item_error
from isthmus.runtime.rpc.structure_kinds import kind_of
from isthmus.v1 import (
    index_search_service_pb2,
    index_search_service_pb2_grpc,
    index_writer_service_pb2,
    index_writer_service_pb2_grpc,
)

__all__ = ["SearchServicer", "WriterServicer", "build"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_INLINE_MAX_COUNT: Final = 64
"""Neighbours whose messages are made on the event loop, about 10 microseconds each; more are made in a thread."""


class WriterServicer(AliasCalls, EraseCalls, RestoreCalls):
    """`IndexWriterService` over the writer.

    Every method raises what the engine raises; the interceptor turns it into a status.

    Args:
        engine: Applies the mutations.
    """

    def __init__(self, engine: WriterEngine) -> None:
        self._engine = engine

    async def CreateCollection(
        self, request: index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceCreateCollectionResponse:
        """Create a collection."""
        info = await self._engine.create_collection(
            context.current().tenant,
            request.name,
            settings=CollectionSettings(
                image_space=request.image_space,
                text_space=request.text_space,
                image_dimension=request.image_dimension,
                text_dimension=request.text_dimension,
                store_thumbnails=request.store_thumbnails,
                guard=guard_terms(request.guard),
                index=kind_of(request.index, field="index") or "",
                keyword_search=request.keyword_search,
            ),
            aligner=wire.aligner_files(request.aligner) if request.HasField("aligner") else None,
            request_id=request.request_id,
        )
        collection = wire.collection_message(info)
        return index_writer_service_pb2.IndexWriterServiceCreateCollectionResponse(collection=collection)

    async def DeleteCollection(
        self, request: index_writer_service_pb2.IndexWriterServiceDeleteCollectionRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceDeleteCollectionResponse:
        """Delete a collection."""
        tenant = context.current().tenant
        await self._engine.delete_collection(tenant, request.name, request_id=request.request_id)
        return index_writer_service_pb2.IndexWriterServiceDeleteCollectionResponse()

    async def ListCollections(
        self, _request: index_writer_service_pb2.IndexWriterServiceListCollectionsRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceListCollectionsResponse:
        """List the tenant's collections."""
        infos = await self._engine.list_collections(context.current().tenant)
        return index_writer_service_pb2.IndexWriterServiceListCollectionsResponse(
            collections=[wire.collection_message(info) for info in infos]
        )

    async def GetCollection(
        self, request: index_writer_service_pb2.IndexWriterServiceGetCollectionRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceGetCollectionResponse:
        """Get one collection."""
        info = await self._engine.get_collection(context.current().tenant, request.name)
        collection = wire.collection_message(info)
        return index_writer_service_pb2.IndexWriterServiceGetCollectionResponse(collection=collection)

    async def UpsertItems(
        self, request: index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceUpsertItemsResponse:
        """Insert or replace items."""
        items, vectors = await self._engine.offload(
            lambda: (wire.new_items(request.items), wire.given_vectors(request))
        )
        tenant = context.current().tenant
        name = await self._engine.resolve(tenant, request.collection)
        result = await self._engine.upsert(
            tenant,
            name,
            items=items,
            vectors=vectors,
            request_id=request.request_id,
        )
        return index_writer_service_pb2.IndexWriterServiceUpsertItemsResponse(
            revision=result.revision,
            created_count=result.created_count,
            updated_count=result.updated_count,
            unchanged_count=result.unchanged_count,
            errors=[item_error(failure.index, failure.error) for failure in result.failures],
            collection=name,
        )

    async def ImportFiles(
        self, request: index_writer_service_pb2.IndexWriterServiceImportFilesRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceImportFilesResponse:
        """Store files of rows."""
        outcome = await self._engine.import_files(
            context.current().tenant,
            request.collection,
            folder=request.folder,
            files=[ImportFile(file.name, file.digest) for file in request.files],
            request_id=request.request_id,
        )
        return import_message(outcome)

    async def DeleteItems(
        self, request: index_writer_service_pb2.IndexWriterServiceDeleteItemsRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceDeleteItemsResponse:
        """Delete items."""
        tenant = context.current().tenant
        name = await self._engine.resolve(tenant, request.collection)
        revision, count = await self._engine.delete(tenant, name, ids=request.ids, request_id=request.request_id)
        return index_writer_service_pb2.IndexWriterServiceDeleteItemsResponse(
            revision=revision, deleted_count=count, collection=name
        )

    async def LookupItems(
        self, request: index_writer_service_pb2.IndexWriterServiceLookupItemsRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceLookupItemsResponse:
        """Say what is stored under ids."""
        revision, stored = await self._engine.lookup(context.current().tenant, request.collection, ids=request.ids)
        return index_writer_service_pb2.IndexWriterServiceLookupItemsResponse(
            items=[wire.digest_message(entry) for entry in stored], revision=revision
        )

    async def SetAligner(
        self, request: index_writer_service_pb2.IndexWriterServiceSetAlignerRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceSetAlignerResponse:
        """Make an aligner the active one."""
        info = await self._engine.set_aligner(
            context.current().tenant,
            request.collection,
            aligner=wire.aligner_files(request.aligner),
            terms=PromotionTerms(allow_unverified=request.allow_unverified, override_reason=request.override_reason),
            request_id=request.request_id,
        )
        collection = wire.collection_message(info)
        return index_writer_service_pb2.IndexWriterServiceSetAlignerResponse(collection=collection)

    async def RollbackAligner(
        self, request: index_writer_service_pb2.IndexWriterServiceRollbackAlignerRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceRollbackAlignerResponse:
        """Make the aligner before the active one active again."""
        tenant = context.current().tenant
        info = await self._engine.rollback_aligner(tenant, request.collection, request_id=request.request_id)
        collection = wire.collection_message(info)
        return index_writer_service_pb2.IndexWriterServiceRollbackAlignerResponse(collection=collection)

    async def SetShadowAligner(
        self, request: index_writer_service_pb2.IndexWriterServiceSetShadowAlignerRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceSetShadowAlignerResponse:
        """Compare an aligner with the active one, or stop that."""
        info = await self._engine.set_shadow_aligner(
            context.current().tenant,
            request.collection,
            aligner=wire.aligner_files(request.aligner) if request.HasField("aligner") else None,
            request_id=request.request_id,
        )
        collection = wire.collection_message(info)
        return index_writer_service_pb2.IndexWriterServiceSetShadowAlignerResponse(collection=collection)

    async def ListPromotions(
        self, request: index_writer_service_pb2.IndexWriterServiceListPromotionsRequest, _context: _Context
    ) -> index_writer_service_pb2.IndexWriterServiceListPromotionsResponse:
        """List what was active."""
        history = await self._engine.promotions(context.current().tenant, request.collection)
        return index_writer_service_pb2.IndexWriterServiceListPromotionsResponse(
            promotions=[wire.promotion_message(one) for one in history.promotions], total_count=history.total_count
        )

    async def WatchRevisions(
        self, request: index_writer_service_pb2.WatchRevisionsRequest, _context: _Context
    ) -> AsyncIterator[index_writer_service_pb2.WatchRevisionsResponse]:
        """Announce commits as they happen."""
        told = self._engine.announcements(origin=request.origin, after=request.after_sequence)
        async with contextlib.aclosing(told):
            async for news in told:
                yield news_message(news)


class SearchServicer(StructureCalls, ComparingCalls, ForgetCalls, BackupCalls):
    """`IndexSearchService` over the searcher.

    Every method raises what the engine raises; the interceptor turns it into a status.

    Args:
        engine: Answers the reads.
        shard: The part of every collection that it holds.
    """

    async def CompareCollections(
        self, request: index_search_service_pb2.CompareCollectionsRequest, context: _Context
    ) -> index_search_service_pb2.CompareCollectionsResponse:
        """Compare how two collections answer the same questions."""
        self.check_whole()
        return await super().CompareCollections(request, context)

    async def Search(
        self, request: index_search_service_pb2.SearchRequest, _context: _Context
    ) -> index_search_service_pb2.SearchResponse:
        """Search a batch of query vectors."""
        started_s = time.monotonic()
        self.check_whole()
        call = context.current()
        name, min_revision = await self._named(request)
        item_modality = (
            wire.modality_of(request.item_modality, field="item_modality") if request.item_modality else None
        )
        search: Callable[..., Awaitable[SearchResult]]
        if request.examples:
            search = partial(self._engine.search_examples, examples=wire.example_vectors(request.examples))
        elif request.keywords and not request.HasField("queries"):
            search = partial(self._engine.search_examples, examples=())
        else:
            search = partial(
                self._engine.search,
                modality=wire.modality_of(request.modality, field="modality"),
                space=request.space,
                queries=decode_vectors(request.queries, field="queries", max_rows=EMBED_MAX_COUNT),
                own_ids=request.own_ids,
            )
        result = await search(
            call.tenant,
            name,
            top_k=request.top_k,
            item_modality=item_modality,
            where=filter_of(request.filter) if request.HasField("filter") else None,
            terms=answer_terms_of(request),
            basic=is_basic(request.view),
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        if sum(map(len, result.neighbors)) <= _INLINE_MAX_COUNT:
            response = wire.search_message(result)
        else:
            response = await self._engine.offload(lambda: wire.fitting(wire.search_message(result)))
        response.collection = name
        response.timings.total_micros = wire.micros(time.monotonic() - started_s)
        return response

    async def MatchPairs(
        self, request: index_search_service_pb2.IndexSearchServiceMatchPairsRequest, _context: _Context
    ) -> index_search_service_pb2.IndexSearchServiceMatchPairsResponse:
        """Judge pairs of raw vectors."""
        started_s = time.monotonic()
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request)
        result = await self._engine.match_pairs(
            call.tenant,
            name,
            wire.pair_vectors(request),
            terms=match_terms(request.terms),
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        return wire.pairs_message(result, total_s=time.monotonic() - started_s)

    async def GetItems(
        self, request: index_search_service_pb2.IndexSearchServiceGetItemsRequest, _context: _Context
    ) -> index_search_service_pb2.IndexSearchServiceGetItemsResponse:
        """Get items by id."""
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request)
        revision, items = await self._engine.get_items(
            call.tenant,
            name,
            ids=request.ids,
            include_embeddings=request.include_embeddings,
            include_thumbnails=request.include_thumbnails,
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        return await self._engine.offload(
            lambda: wire.fitting(
                index_search_service_pb2.IndexSearchServiceGetItemsResponse(
                    items=[wire.item_message(item) for item in items], revision=revision, collection=name
                )
            )
        )

    async def GetShadowReport(
        self, request: index_search_service_pb2.IndexSearchServiceGetShadowReportRequest, _context: _Context
    ) -> index_search_service_pb2.IndexSearchServiceGetShadowReportResponse:
        """Say what the collection's shadow aligner would have changed."""
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request)
        report = await self._engine.shadow_report(
            call.tenant, name, min_revision=min_revision, timeout_s=call.remaining_s()
        )
        return index_search_service_pb2.IndexSearchServiceGetShadowReportResponse(report=wire.shadow_message(report))

    async def ReadItems(
        self, request: index_search_service_pb2.ReadItemsRequest, _context: _Context
    ) -> AsyncIterator[index_search_service_pb2.ReadItemsResponse]:
        """Stream every item of a snapshot, after one message that names it."""
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request)
        reader = await self._engine.read_items(
            call.tenant,
            name,
            paired_only=request.paired_only,
            notes=NotesWanted(attribute=request.attribute, words=request.content_words),
            sample=PairSampling(request.sample_count, request.sample_seed) if request.sample_count else None,
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        yield index_search_service_pb2.ReadItemsResponse(
            collection=wire.collection_message(reader.info),
            aligner=None if reader.aligner is None else wire.aligner_message(reader.aligner),
        )
        async for batch in reader.batches:
            yield wire.batch_message(batch, row_ids=request.HasField("shard"))

    async def ListValues(
        self, request: index_search_service_pb2.ListValuesRequest, _context: _Context
    ) -> index_search_service_pb2.ListValuesResponse:
        """List the different values of an attribute."""
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request)
        info, values = await self._engine.list_values(
            call.tenant,
            name,
            attribute=request.attribute,
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        return index_search_service_pb2.ListValuesResponse(values=values, collection=wire.collection_message(info))

    async def ListFollowed(
        self, request: index_search_service_pb2.ListFollowedRequest, _context: _Context
    ) -> index_search_service_pb2.ListFollowedResponse:
        """List the collections of every tenant."""
        self.check_shard(request)
        if request.known:
            check_count(request.known, field="known", limit=FOLLOWED_MAX_COUNT)
        found = await self._engine.list_followed({(one.tenant, one.name): one.revision for one in request.known})
        return index_search_service_pb2.ListFollowedResponse(
            collections=[wire.followed_message(one) for one in found[:FOLLOWED_MAX_COUNT]]
        )


def build(config: IndexConfig) -> Hosted:
    """Make the service of the role that `config` names; it reads the store when it is warmed."""
    if config.role == "writer":
        writer = WriterEngine(config)
        return Hosted(
            name="index_writer",
            registrations=(
                Registration(
                    service="isthmus.v1.IndexWriterService",
                    register=lambda server: index_writer_service_pb2_grpc.add_IndexWriterServiceServicer_to_server(
                        WriterServicer(writer), server
                    ),
                ),
            ),
            warm=writer.start,
            close=writer.close,
            probe=writer.probe,
            leave=writer.leave,
        )
    searcher = SearcherEngine(config, news=WriterNews(config) if config.writer_address else None)
    return Hosted(
        name="index_search",
        registrations=(
            Registration(
                service="isthmus.v1.IndexSearchService",
                register=lambda server: index_search_service_pb2_grpc.add_IndexSearchServiceServicer_to_server(
                    SearchServicer(searcher, config.shard), server
                ),
            ),
        ),
        warm=searcher.start,
        close=searcher.close,
        probe=lambda: searcher.offload(lambda: None),
    )
