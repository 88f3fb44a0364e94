"""The index searcher behind the gateway, over gRPC: answers `SearchPort`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final

import grpc

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.gateway.domain import (
    ROW_COMPONENT_BYTES,
    Collection,
    Found,
    JudgedPairs,
    Neighbor,
    PairedItems,
    PairRows,
    Row,
    StoredVector,
)
from isthmus.gateway.example_rows import ExampleRows
from isthmus.gateway.messages import (
    collection_of,
    modality_message,
    modality_of,
    row_data,
    rows_message,
)
from isthmus.gateway.offload import Offload
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.rpc.answer_terms import set_answer_terms
from isthmus.runtime.rpc.channel import call, stream
from isthmus.runtime.rpc.filters import filter_message
from isthmus.runtime.rpc.matching import terms_message
from isthmus.runtime.rpc.sharded import search_stub
from isthmus.runtime.rpc.status import from_item_error
from isthmus.v1 import (
    common_pb2,
    index_search_service_pb2,
)

__all__ = ["SearchBackend"]

_NEIGHBORS_AN_ENTRY: Final = 16
"""Unpacking so many neighbours takes as long as checking one entry of a request."""
_READ_TIMEOUT_S: Final = 60.0
"""An upsert stream may have no deadline; one look at what is stored has."""


def _pair_embeddings(batch: PairRows) -> common_pb2.EmbeddingBatch:
    dimension = len(batch.rows[0].data) // ROW_COMPONENT_BYTES
    return common_pb2.EmbeddingBatch(
        space=batch.space, vectors=rows_message(batch.rows, dimension), input_indexes=batch.pairs
    )


def _example_message(batch: ExampleRows) -> index_search_service_pb2.ExampleVectors:
    return index_search_service_pb2.ExampleVectors(
        modality=modality_message(batch.modality),
        space=batch.space,
        vectors=rows_message(batch.rows, len(batch.rows[0].data) // ROW_COMPONENT_BYTES),
        weights=batch.weights,
    )


def _found(answer: index_search_service_pb2.SearchResponse) -> Found:
    return Found(
        neighbors=[
            [
                Neighbor(
                    neighbor.item.id,
                    modality_of(neighbor.item.modality),
                    neighbor.score,
                    neighbor.calibrated_score,
                    neighbor,
                )
                for neighbor in result.neighbors
            ]
            for result in answer.results
        ],
        revision=answer.revision,
        space=answer.space,
        calibration=answer.calibration,
        align_micros=answer.timings.align_micros,
        search_micros=answer.timings.search_micros,
        order=answer.order,
        collection=answer.collection,
        shards_answered=answer.shards_answered,
        shards_total=answer.shards_total,
    )


class SearchBackend:
    """The index searcher.

    Args:
        channels: To each group of searchers, in the order of their shard numbers.
        offload: Threads to unpack large answers in.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel], offload: Offload) -> None:
        self.stub = search_stub(channels)
        self._offload = offload

    async def search(
        self,
        collection: str,
        rows: Sequence[Row],
        *,
        modality: Modality,
        space: str,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
        own_ids: Sequence[str] = (),
        basic: bool = False,
    ) -> Found:
        """Search up to 256 queries of one modality, among the items that `where` holds for, for what `terms` say."""
        request = index_search_service_pb2.SearchRequest(
            collection=collection,
            modality=modality_message(modality),
            space=space,
            queries=rows_message(rows, len(rows[0].data) // ROW_COMPONENT_BYTES),
            top_k=top_k,
            item_modality=modality_message(item_modality),
            min_revision=min_revision,
            filter=None if where is None else filter_message(where),
            own_ids=own_ids,
            view=common_pb2.NEIGHBOR_VIEW_BASIC if basic else common_pb2.NEIGHBOR_VIEW_FULL,
        )
        return await self._ask(request, terms, count=len(rows) * top_k)

    async def search_examples(
        self,
        collection: str,
        examples: Sequence[ExampleRows],
        *,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
    ) -> Found:
        """Search one query that is made of up to 64 examples; as `search`."""
        request = index_search_service_pb2.SearchRequest(
            collection=collection,
            examples=[_example_message(batch) for batch in examples],
            top_k=top_k,
            item_modality=modality_message(item_modality),
            min_revision=min_revision,
            filter=None if where is None else filter_message(where),
        )
        return await self._ask(request, terms, count=top_k)

    async def search_keywords(
        self,
        collection: str,
        *,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms,
    ) -> Found:
        """Search by the words of `terms` alone; as `search`."""
        request = index_search_service_pb2.SearchRequest(
            collection=collection,
            top_k=top_k,
            item_modality=modality_message(item_modality),
            min_revision=min_revision,
            filter=None if where is None else filter_message(where),
        )
        return await self._ask(request, terms, count=top_k)

    async def _ask(
        self, request: index_search_service_pb2.SearchRequest, terms: AnswerTerms | None, *, count: int
    ) -> Found:
        if terms is not None:
            set_answer_terms(request, terms)
        answer = await call(self.stub.Search, request, backend="index_search")
        return await self._offload.run(partial(_found, answer), count=count // _NEIGHBORS_AN_ENTRY)

    async def match_pairs(
        self,
        collection: str,
        rows: Mapping[Modality, Sequence[PairRows]],
        *,
        terms: MatchTerms,
        min_revision: int,
    ) -> JudgedPairs:
        """Judge up to 256 pairs."""
        request = index_search_service_pb2.IndexSearchServiceMatchPairsRequest(
            collection=collection,
            image_embeddings=[_pair_embeddings(batch) for batch in rows[Modality.IMAGE]],
            text_embeddings=[_pair_embeddings(batch) for batch in rows[Modality.TEXT]],
            terms=terms_message(terms),
            min_revision=min_revision,
        )
        answer = await call(self.stub.MatchPairs, request, backend="index_search")
        return JudgedPairs(
            records=answer.matches,
            errors={error.index: from_item_error(error) for error in answer.errors},
            accept_above=answer.accept_above,
            refuse_below=answer.refuse_below,
            aligner=answer.aligner,
            calibration=answer.calibration,
            space=answer.space,
            revision=answer.revision,
            align_micros=answer.timings.align_micros,
        )

    async def get_vectors(
        self, collection: str, ids: Sequence[str], *, min_revision: int
    ) -> tuple[dict[str, StoredVector], int]:
        """Return the embeddings of the items that are there, by id, and the revision."""
        request = index_search_service_pb2.IndexSearchServiceGetItemsRequest(
            collection=collection, ids=ids, include_embeddings=True, min_revision=min_revision
        )
        answer = await call(self.stub.GetItems, request, backend="index_search", timeout_s=_READ_TIMEOUT_S)
        vectors = {}
        for item in answer.items:
            (data,) = row_data(item.embedding)
            vectors[item.id] = StoredVector(modality_of(item.modality), item.space, Row(data), item.content_digest)
        return vectors, answer.revision

    async def list_values(
        self, collection: str, attribute: str, *, min_revision: int
    ) -> tuple[Collection, Sequence[str]]:
        """Return a collection and the different values of an attribute as text, at most 256."""
        request = index_search_service_pb2.ListValuesRequest(
            collection=collection, attribute=attribute, min_revision=min_revision
        )
        answer = await call(self.stub.ListValues, request, backend="index_search", timeout_s=_READ_TIMEOUT_S)
        return collection_of(answer.collection), answer.values

    async def read_pairs(self, collection: str, *, min_revision: int) -> AsyncIterator[Collection | PairedItems]:
        """Stream the collection at a pinned revision, then every item with a pair key."""
        request = index_search_service_pb2.ReadItemsRequest(
            collection=collection, min_revision=min_revision, paired_only=True
        )
        async for message in stream(self.stub.ReadItems, request, backend="index_search"):
            if message.HasField("collection"):
                yield collection_of(message.collection)
            if message.ids:
                rows = [Row(data) for data in row_data(message.embeddings)]
                yield PairedItems(modality_of(message.modality), message.ids, message.pair_keys, rows)
