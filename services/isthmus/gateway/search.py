"""Search: whatever the query is, make a raw embedding of it and ask the searcher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.domain import Content, Neighbor, Row, Stages
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.metrics import SEARCH_SECONDS
from isthmus.gateway.ports import SearchPort
from isthmus.gateway.validation import GivenVector
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import IsthmusError, NotFoundError
from isthmus.runtime.base.filters import Filter

__all__ = ["ItemQuery", "SearchAnswer", "SearchCommand", "Seeker"]

DEGRADED_CACHE: Final = "cache"
"""How an answer says that the shared cache was left out."""


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """A stored item as a query.

    Attributes:
        item_id: Its id.
    """

    item_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCommand:
    """What to look for, and where.

    Attributes:
        collection: Where.
        query: What.
        top_k: Neighbours wanted.
        item_modality: Modality of the answers; None means any.
        min_revision: Answer from at least this revision.
        where: What must hold of the answers' attributes; None means nothing.
        one_per_pair_key: Of items that share a pair key answer only with the best.
    """

    collection: str
    query: Content | GivenVector | ItemQuery
    top_k: int
    item_modality: Modality | None = None
    min_revision: int = 0
    where: Filter | None = None
    one_per_pair_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """What was found.

    Attributes:
        neighbors: Best first.
        revision: The revision that was searched.
        space: The space that was searched.
        calibration: How scores of the two modalities were made comparable, as the wire numbers it.
        truncated: True when the query text was cut.
        degraded: Optional parts that were left out.
        stages: Where the time went.
    """

    neighbors: Sequence[Neighbor]
    revision: int
    space: str
    calibration: int
    truncated: bool
    degraded: Sequence[str]
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True, slots=True)
class _Query:
    """A query as the searcher wants it."""

    modality: Modality
    space: str
    row: Row
    min_revision: int


class Seeker:
    """Answers searches.

    Args:
        searcher: The index searcher.
        embedder: Makes embeddings of queries.
        cache: To say when it is degraded.
    """

    def __init__(self, *, searcher: SearchPort, embedder: Embedder, cache: EmbeddingCache) -> None:
        self._searcher = searcher
        self._embedder = embedder
        self._cache = cache

    async def search(self, command: SearchCommand) -> SearchAnswer:
        """Answer one search.

        Raises:
            IsthmusError: of the query's content, of the encoder, of the searcher.
            NotFoundError: ITEM_NOT_FOUND; the item that should be the query is not there.
        """
        stages = Stages()
        query = await self._query(command, stages)
        # An item would be the best answer to itself.
        own_ids = (command.query.item_id,) if isinstance(command.query, ItemQuery) else ()
        started_s = time.monotonic()
        found = await self._searcher.search(
            command.collection,
            [query.row],
            modality=query.modality,
            space=query.space,
            top_k=command.top_k,
            item_modality=command.item_modality,
            min_revision=query.min_revision,
            where=command.where,
            terms=AnswerTerms(exclude_ids=own_ids, one_per_pair_key=command.one_per_pair_key),
        )
        SEARCH_SECONDS.observe(time.monotonic() - started_s)
        stages.align_micros += found.align_micros
        stages.search_micros += found.search_micros
        (neighbors,) = found.neighbors
        asked_cache = isinstance(command.query, Content)
        return SearchAnswer(
            neighbors=neighbors,
            revision=found.revision,
            space=found.space,
            calibration=found.calibration,
            truncated=query.row.truncated,
            degraded=[DEGRADED_CACHE] if asked_cache and self._cache.degraded else [],
            stages=stages,
        )

    async def _query(self, command: SearchCommand, stages: Stages) -> _Query:
        query = command.query
        if isinstance(query, GivenVector):
            return _Query(query.modality, query.space, query.row, command.min_revision)
        if isinstance(query, ItemQuery):
            return await self._stored_query(query, command)
        embedded = await self._embedder.embed(query.modality, [query])
        stages.add(embedded.stages)
        (row,) = embedded.rows
        if isinstance(row, IsthmusError):
            raise row
        return _Query(query.modality, embedded.encoder.space, row, command.min_revision)

    async def _stored_query(self, query: ItemQuery, command: SearchCommand) -> _Query:
        vectors, revision = await self._searcher.get_vectors(
            command.collection, [query.item_id], min_revision=command.min_revision
        )
        stored = vectors.get(query.item_id)
        if stored is None:
            msg = "item_id names no item of the collection"
            raise NotFoundError(msg, reason="ITEM_NOT_FOUND", metadata={"field": "item_id"})
        # Not older than what was just read: the item must not find itself gone.
        return _Query(stored.modality, stored.space, stored.row, max(command.min_revision, revision))
