"""Search: whatever the query is, make a raw embedding of it and ask the searcher."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

from isthmus.core.modality import Modality
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.domain import Content, Found, Neighbor, Row, Stages, StoredVector
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.example_rows import ExampleRow, by_space
from isthmus.gateway.gather import gather_all
from isthmus.gateway.metrics import SEARCH_SECONDS
from isthmus.gateway.page_token import PageToken, read_token, search_digest, write_token
from isthmus.gateway.ports import SearchPort
from isthmus.gateway.validation import GivenVector
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import IsthmusError, NotFoundError, ResourceExhaustedError
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.base.limits import PAGE_DEPTH_MAX_COUNT

__all__ = [
    "DEGRADED_CACHE",
    "Example",
    "ExamplesQuery",
    "ItemQuery",
    "KeywordsQuery",
    "Made",
    "QuerySource",
    "SearchAnswer",
    "SearchCommand",
    "Seeker",
    "left_out",
    "of_example",
]

DEGRADED_CACHE: Final = "cache"
"""How an answer says that the shared cache was left out."""
DEGRADED_SHARDS: Final = "shards"
"""How an answer says that a group of searchers was left out."""
_EXAMPLES: Final = "examples.examples"
_FIRST_PAGE: Final = PageToken(b"", 0, 0, b"")


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """A stored item as a query.

    Attributes:
        item_id: Its id.
    """

    item_id: str


QuerySource: TypeAlias = Content | GivenVector | ItemQuery
"""What a query, or one of its examples, may be."""


@dataclass(frozen=True, slots=True)
class Example:
    """What answers should be like, or unlike.

    Attributes:
        source: What it is.
        weight: How much it counts; negative where answers should be unlike it.
    """

    source: QuerySource
    weight: float


@dataclass(frozen=True, slots=True)
class ExamplesQuery:
    """Several examples as a query.

    Attributes:
        examples: 1 to 64.
    """

    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class KeywordsQuery:
    """No query but the words of the terms."""


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
        terms: What the answer is to be made of.
        page_token: Of the page before; empty for the first.
    """

    collection: str
    query: QuerySource | ExamplesQuery | KeywordsQuery
    top_k: int
    item_modality: Modality | None = None
    min_revision: int = 0
    where: Filter | None = None
    terms: AnswerTerms = field(default_factory=AnswerTerms)
    page_token: str = ""


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
        next_page_token: Asks for the next page; empty where there are no more answers.
        collection: That answered.
        shards_answered: Groups of searchers that answered; 0 where collections are not split.
        shards_total: Groups of searchers; 0 where collections are not split.
    """

    neighbors: Sequence[Neighbor]
    revision: int
    space: str
    calibration: int
    truncated: bool
    degraded: Sequence[str]
    stages: Stages = field(default_factory=Stages)
    next_page_token: str = ""
    collection: str = ""
    shards_answered: int = 0
    shards_total: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A source, embedded.

    Attributes:
        modality: What it is made of.
        space: Its raw space.
        row: Its embedding.
    """

    modality: Modality
    space: str
    row: Row


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
        asked = _asked_digest(command)
        page = read_token(command.page_token, search=asked) if command.page_token else _FIRST_PAGE
        if page.position + command.top_k > PAGE_DEPTH_MAX_COUNT:
            msg = f"page_token is beyond the {PAGE_DEPTH_MAX_COUNT} answers that pages reach"
            metadata = {"field": "page_token", "limit": str(PAGE_DEPTH_MAX_COUNT)}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
        is_single = not isinstance(command.query, ExamplesQuery)
        examples = _examples(command.query)
        sources = [example.source for example in examples]
        made, revision = await self.made(command.collection, sources, min_revision=command.min_revision, stages=stages)
        rows: list[Made] = []
        for place, each in enumerate(made):
            if isinstance(each, IsthmusError):
                raise each if is_single else of_example(each, place)
            rows.append(each)
        search: Callable[..., Awaitable[Found]]
        if isinstance(command.query, KeywordsQuery):
            search = partial(self._searcher.search_keywords, command.collection)
        elif is_single:
            (one,) = rows
            search = partial(
                self._searcher.search, command.collection, [one.row], modality=one.modality, space=one.space
            )
        else:
            weighted = [
                ExampleRow(each.modality, each.space, each.row, example.weight)
                for each, example in zip(rows, examples, strict=True)
            ]
            search = partial(self._searcher.search_examples, command.collection, by_space(weighted))
        # An item would be the best answer to itself.
        own_ids = tuple(dict.fromkeys(source.item_id for source in sources if isinstance(source, ItemQuery)))
        started_s = time.monotonic()
        found: Found = await search(
            top_k=command.top_k,
            item_modality=command.item_modality,
            # Not older than what was just read: an item must not find itself gone.
            min_revision=max(command.min_revision, revision, page.revision),
            where=command.where,
            terms=replace(command.terms, exclude_ids=own_ids, offset=page.position, expected_order=page.order),
        )
        SEARCH_SECONDS.observe(time.monotonic() - started_s)
        stages.align_micros += found.align_micros
        stages.search_micros += found.search_micros
        (neighbors,) = found.neighbors
        asked_cache = any(isinstance(source, Content) for source in sources)
        return SearchAnswer(
            neighbors=neighbors,
            revision=found.revision,
            space=found.space,
            collection=found.collection,
            calibration=found.calibration,
            truncated=any(each.row.truncated for each in rows),
            degraded=left_out(cache=asked_cache and self._cache.degraded, shards=found.is_partial),
            stages=stages,
            next_page_token=write_token(PageToken(found.order, found.revision, page.position + len(neighbors), asked))
            if command.terms.is_paged and len(neighbors) == command.top_k
            else "",
            shards_answered=found.shards_answered,
            shards_total=found.shards_total,
        )

    async def made(
        self, collection: str, sources: Sequence[QuerySource], *, min_revision: int, stages: Stages
    ) -> tuple[list[Made | IsthmusError], int]:
        """Embed sources, what is missing in the cache in one batch a modality.

        Args:
            collection: Of the items among them.
            sources: In any mixture.
            min_revision: Read items at no older revision.
            stages: What it took is added to these.

        Returns:
            Each source embedded or what is wrong with it, and the revision at which items were read, 0 without any.

        Raises:
            IsthmusError: of an encoder or of the searcher as a whole.
        """
        made: dict[int, Made | IsthmusError] = {}
        ids = list(dict.fromkeys(source.item_id for source in sources if isinstance(source, ItemQuery)))
        stored: Mapping[str, StoredVector] = {}
        revision = 0
        if ids:
            stored, revision = await self._searcher.get_vectors(collection, ids, min_revision=min_revision)
        contents: dict[Modality, dict[int, Content]] = {}
        for place, source in enumerate(sources):
            if isinstance(source, Content):
                contents.setdefault(source.modality, {})[place] = source
            elif isinstance(source, GivenVector):
                made[place] = Made(source.modality, source.space, source.row)
            elif (item := stored.get(source.item_id)) is not None:
                made[place] = Made(item.modality, item.space, item.row)
            else:
                msg = "item_id names no item of the collection"
                made[place] = NotFoundError(msg, reason="ITEM_NOT_FOUND", metadata={"field": "item_id"})

        async def embed(modality: Modality, own: Mapping[int, Content]) -> None:
            embedded = await self._embedder.embed(modality, list(own.values()))
            stages.add(embedded.stages)
            for place, row in zip(own, embedded.rows, strict=True):
                made[place] = row if isinstance(row, IsthmusError) else Made(modality, embedded.encoder.space, row)

        if contents:
            await gather_all([embed(modality, own) for modality, own in contents.items()])
        return [made[place] for place in range(len(sources))], revision


def left_out(*, cache: bool, shards: bool) -> list[str]:
    """Return how an answer says which optional parts it was made without."""
    return [name for name, is_out in ((DEGRADED_CACHE, cache), (DEGRADED_SHARDS, shards)) if is_out]


def _asked_digest(command: SearchCommand) -> bytes:
    """Return a digest of everything that a search's answers depend on but the revision."""
    is_single = not isinstance(command.query, ExamplesQuery)
    sources = [(_told(example.source), 0.0 if is_single else example.weight) for example in _examples(command.query)]
    return search_digest(
        (command.collection, sources, command.top_k, command.item_modality, command.where, command.terms)
    )


def _examples(query: QuerySource | ExamplesQuery | KeywordsQuery) -> tuple[Example, ...]:
    if isinstance(query, ExamplesQuery):
        return query.examples
    return () if isinstance(query, KeywordsQuery) else (Example(query, 1.0),)


def _told(source: QuerySource) -> tuple[object, ...]:
    if isinstance(source, Content):
        return (source.modality.value, source.digest)
    if isinstance(source, GivenVector):
        return (source.modality.value, source.space, source.row.data)
    return (source.item_id,)


def of_example(error: IsthmusError, place: int) -> IsthmusError:
    """Return an error that names the example that it is about."""
    path = f"{_EXAMPLES}[{place}]"
    field = error.metadata.get("field", "")
    return type(error)(
        f"{path}: {error.message}",
        reason=error.reason,
        metadata={**error.metadata, "field": f"{path}.{field}" if field else path},
        retry_after_s=error.retry_after_s,
    )
