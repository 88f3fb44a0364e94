"""The calls that ask for one part of a collection, and the check that it is the part that the caller means."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import grpc
import numpy as np

from isthmus.core.modality import Modality
from isthmus.index import wire
from isthmus.index.alias_calls import NamingRequest
from isthmus.index.checks import check_top_k
from isthmus.index.engine import SearcherEngine
from isthmus.index.part_answers import (
    AlignedItems,
    PartAnswer,
    PartFound,
    aligned_items,
    rank_examples,
    rank_queries,
)
from isthmus.index.ranking import Question
from isthmus.index.snapshot import Snapshot
from isthmus.index.wire_enums import modality_message, source_message
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, PART_DEPTH_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_count
from isthmus.runtime.base.shards import Shard
from isthmus.runtime.rpc.answer_terms import answer_terms_of, is_basic
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.runtime.rpc.filters import filter_of
from isthmus.v1 import common_pb2, index_search_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceServicer

__all__ = ["ShardCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]


class _OfShard(Protocol):
    @property
    def shard(self) -> index_search_service_pb2.Shard: ...

    def HasField(self, field_name: Any, /) -> bool: ...


class ShardCalls(IndexSearchServiceServicer):
    """Parts of collections, a part of `IndexSearchService`.

    Args:
        engine: Answers the reads.
        shard: The part of every collection that it holds.
    """

    def __init__(self, engine: SearcherEngine, shard: Shard) -> None:
        self._engine = engine
        self._shard = shard

    async def _named(self, request: NamingRequest) -> tuple[str, int]:
        """Return the collection that a request means, and the least revision of it that it asks for."""
        call = context.current()
        return await self._engine.resolve(
            call.tenant, request.collection, min_revision=request.min_revision, timeout_s=call.remaining_s()
        )

    async def SearchShard(
        self, request: index_search_service_pb2.SearchShardRequest, _context: _Context
    ) -> index_search_service_pb2.SearchShardResponse:
        """Find the best items of each modality in this part."""
        started_s = time.monotonic()
        self.check_shard(request)
        call = context.current()
        name, min_revision = await self._named(request.search)
        answer = await self._engine.ask_part(
            call.tenant,
            name,
            _ranking(request),
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        make = partial(_part_message, answer, name, keys=bool(request.search.group_by), items=request.items)
        response = await self._engine.offload(lambda: wire.fitting(make()))
        response.timings.total_micros = wire.micros(time.monotonic() - started_s)
        return response

    async def GetShardVectors(
        self, request: index_search_service_pb2.GetShardVectorsRequest, _context: _Context
    ) -> index_search_service_pb2.GetShardVectorsResponse:
        """Get the unit vectors of items in the space that is searched."""
        self.check_shard(request)
        check_count(request.ids, field="ids", limit=UPSERT_MAX_COUNT)
        call = context.current()
        name, min_revision = await self._named(request)
        answer: PartAnswer[AlignedItems] = await self._engine.ask_part(
            call.tenant,
            name,
            partial(aligned_items, ids=tuple(request.ids)),
            min_revision=min_revision,
            timeout_s=call.remaining_s(),
        )
        found = answer.found
        return wire.fitting(
            index_search_service_pb2.GetShardVectorsResponse(
                ids=found.ids,
                vectors=encode_vectors(found.units),
                item_revisions=found.revisions,
                space=found.space,
                revision=answer.revision,
            )
        )

    def check_shard(self, request: _OfShard) -> None:
        """Check that a caller means the part that is held here.

        Raises:
            FailedPreconditionError: SHARD_MISMATCH.
        """
        meant = (request.shard.number, request.shard.count) if request.HasField("shard") else (0, 1)
        self._check_meant(*meant)

    def check_whole(self) -> None:
        """Check that whole collections are held here.

        Raises:
            FailedPreconditionError: SHARD_MISMATCH.
        """
        self._check_meant(0, 1)

    def _check_meant(self, number: int, count: int) -> None:
        own = self._shard
        if (number, count) != (own.number, own.count):
            msg = f"this searcher holds shard {own.number} of {own.count}; it was taken for {number} of {count}"
            metadata = {"shard": f"{own.number}/{own.count}", "expected": f"{number}/{count}"}
            raise FailedPreconditionError(msg, reason="SHARD_MISMATCH", metadata=metadata)


def _ranking(request: index_search_service_pb2.SearchShardRequest) -> Callable[[Snapshot], PartFound]:
    """Return the work that a request asks for.

    Raises:
        InvalidArgumentError: a field is missing or wrong.
        ResourceExhaustedError: a limit is exceeded.
    """
    search = request.search
    check_top_k(search.top_k)
    if not request.depth:
        msg = "depth is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "depth"})
    if request.depth > PART_DEPTH_MAX_COUNT:
        msg = f"depth is {request.depth}; the limit is {PART_DEPTH_MAX_COUNT}: too few of the best items differ"
        metadata = {"field": "depth", "limit": str(PART_DEPTH_MAX_COUNT)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    item_modality = wire.modality_of(search.item_modality, field="item_modality") if search.item_modality else None
    where = filter_of(search.filter) if search.HasField("filter") else None
    if search.examples:
        question = Question(
            modality=Modality.IMAGE,
            space="",
            top_k=search.top_k,
            item_modality=item_modality,
            where=where,
            terms=answer_terms_of(search),
            basic=is_basic(search.view),
        )
        examples = wire.example_vectors(search.examples)
        return partial(rank_examples, examples=examples, question=question, depth=request.depth, items=request.items)
    queries = decode_vectors(search.queries, field="queries", max_rows=EMBED_MAX_COUNT)
    check_count(range(len(queries)), field="queries", limit=EMBED_MAX_COUNT)
    if len(search.own_ids) not in (0, len(queries)):
        msg = f"own_ids holds {len(search.own_ids)} ids for {len(queries)} queries"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "own_ids"})
    question = Question(
        modality=wire.modality_of(search.modality, field="modality"),
        space=search.space,
        top_k=search.top_k,
        item_modality=item_modality,
        where=where,
        terms=answer_terms_of(search),
        own_ids=tuple(search.own_ids),
        basic=is_basic(search.view),
    )
    return partial(rank_queries, queries=queries, question=question, depth=request.depth, items=request.items)


def _part_message(
    answer: PartAnswer[PartFound], collection: str, *, keys: bool, items: bool
) -> index_search_service_pb2.SearchShardResponse:
    found = answer.found
    return index_search_service_pb2.SearchShardResponse(
        candidates=[
            index_search_service_pb2.ShardCandidates(
                modality=modality_message(best.modality),
                candidate_ids=[item.id for item in best.items],
                scores=np.ascontiguousarray(best.scores, dtype="<f4").tobytes(),
                pair_keys=[item.pair_key for item in best.items] if keys else (),
                candidate_items=[wire.item_message(item) for item in best.items] if items else (),
            )
            for query in found.best
            for best in query
        ],
        revision=answer.revision,
        space=found.space,
        uid=answer.uid,
        collection=collection,
        calibration=source_message(found.source),
        curves_json=json.dumps(found.curves.to_dict()).encode(),
        image_share=found.shares.get(Modality.IMAGE, 0.0),
        text_share=found.shares.get(Modality.TEXT, 0.0),
        unbounded_scores=found.is_unbounded,
        order=answer.order,
        timings=common_pb2.Timings(align_micros=wire.micros(found.align_s), search_micros=wire.micros(found.search_s)),
    )
