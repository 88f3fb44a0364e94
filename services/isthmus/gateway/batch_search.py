"""Search many queries at once: embed what is new in one batch a modality, ask the searcher once for each modality."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from isthmus.core.modality import Modality
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.domain import Content, Found, Neighbor, Stages
from isthmus.gateway.gather import gather_all
from isthmus.gateway.metrics import SEARCH_SECONDS
from isthmus.gateway.ports import SearchPort
from isthmus.gateway.search import ItemQuery, Made, QuerySource, Seeker, left_out
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.filters import Filter

__all__ = ["BatchAnswer", "BatchCommand", "BatchSeeker", "QueryAnswer"]

_OF_QUERIES: Final = frozenset({"SPACE_MISMATCH", "INVALID_VECTOR", "NO_ALIGNER"})
"""Reasons for which the searcher refuses queries of one kind; those of another kind are answered all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCommand:
    """What to look for, and where.

    Attributes:
        collection: Where.
        queries: What, or what is wrong with it.
        top_k: Neighbours wanted of each.
        item_modality: Modality of the answers; None means any.
        min_revision: Answer from at least this revision.
        where: What must hold of the answers' attributes; None means nothing.
        terms: What answers are to be made of.
        basic: Tell of the answers' items only id, modality and pair key.
    """

    collection: str
    queries: Sequence[QuerySource | IsthmusError]
    top_k: int
    item_modality: Modality | None = None
    min_revision: int = 0
    where: Filter | None = None
    terms: AnswerTerms = field(default_factory=AnswerTerms)
    basic: bool = False


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The answers to one query.

    Attributes:
        index: Its position.
        neighbors: Best first.
        space: The space that was searched.
        truncated: True when its text was cut.
    """

    index: int
    neighbors: Sequence[Neighbor]
    space: str
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """What was found.

    Attributes:
        results: Of the queries that could be answered, by position.
        errors: What is wrong with the others, by position.
        revision: The oldest revision that was searched; 0 where nothing could be.
        calibration: How scores of the two modalities were made comparable, as the wire numbers it.
        degraded: Optional parts that were left out.
        stages: Where the time went.
        shards_answered: The fewest groups of searchers that any query was answered from; 0 where collections are whole.
        shards_total: Groups of searchers; 0 where collections are not split.
    """

    results: Sequence[QueryAnswer]
    errors: Mapping[int, IsthmusError]
    revision: int
    calibration: int
    degraded: Sequence[str]
    stages: Stages
    shards_answered: int = 0
    shards_total: int = 0


_Kind: TypeAlias = tuple[Modality, str, int]
"""Modality, space and bytes of a row: what queries of one call to the searcher have in common."""


class BatchSeeker:
    """Answers batches of searches.

    Args:
        seeker: Embeds queries.
        searcher: The index searcher.
        cache: To say when it is degraded.
    """

    def __init__(self, *, seeker: Seeker, searcher: SearchPort, cache: EmbeddingCache) -> None:
        self._seeker = seeker
        self._searcher = searcher
        self._cache = cache

    async def search(self, command: BatchCommand) -> BatchAnswer:
        """Answer many searches; a bad query never fails its neighbours.

        Raises:
            IsthmusError: of an encoder or of the searcher as a whole.
        """
        stages = Stages()
        errors: dict[int, IsthmusError] = {}
        sources: dict[int, QuerySource] = {}
        for position, query in enumerate(command.queries):
            if isinstance(query, IsthmusError):
                errors[position] = query
            else:
                sources[position] = query
        made, revision = await self._seeker.made(
            command.collection, list(sources.values()), min_revision=command.min_revision, stages=stages
        )
        rows: dict[int, Made] = {}
        for position, each in zip(sources, made, strict=True):
            if isinstance(each, IsthmusError):
                errors[position] = each
            else:
                rows[position] = each
        kinds: dict[_Kind, list[int]] = {}
        for position, one in rows.items():
            kinds.setdefault((one.modality, one.space, len(one.row.data)), []).append(position)
        started_s = time.monotonic()
        answered = await gather_all(
            [
                self._ask(command, of_modality, rows, sources, least_revision=revision)
                for modality in Modality
                if (of_modality := [positions for kind, positions in kinds.items() if kind[0] is modality])
            ]
        )
        SEARCH_SECONDS.observe(time.monotonic() - started_s)
        results: dict[int, QueryAnswer] = {}
        found = []
        for positions, outcome in (part for parts in answered for part in parts):
            if isinstance(outcome, IsthmusError):
                errors.update(dict.fromkeys(positions, outcome))
                continue
            found.append(outcome)
            stages.align_micros += outcome.align_micros
            stages.search_micros += outcome.search_micros
            for position, neighbors in zip(positions, outcome.neighbors, strict=True):
                truncated = rows[position].row.truncated
                results[position] = QueryAnswer(position, neighbors, outcome.space, truncated)
        asked_cache = any(isinstance(source, Content) for source in sources.values())
        return BatchAnswer(
            results=[results[position] for position in sorted(results)],
            errors=errors,
            revision=min((each.revision for each in found), default=0),
            calibration=max((each.calibration for each in found), default=0),
            degraded=left_out(
                cache=asked_cache and self._cache.degraded, shards=any(each.is_partial for each in found)
            ),
            shards_answered=min((each.shards_answered for each in found), default=0),
            shards_total=max((each.shards_total for each in found), default=0),
            stages=stages,
        )

    async def _ask(
        self,
        command: BatchCommand,
        kinds: Sequence[Sequence[int]],
        rows: Mapping[int, Made],
        sources: Mapping[int, QuerySource],
        *,
        least_revision: int,
    ) -> list[tuple[Sequence[int], Found | IsthmusError]]:
        """Search the queries of one modality: one call, and one more for each space or length that is not its own.

        Those come one after the other, so a batch of strange vectors never takes more than one place in the searcher.
        """
        outcomes: list[tuple[Sequence[int], Found | IsthmusError]] = []
        for positions in kinds:
            one = rows[positions[0]]
            own_ids = [
                source.item_id if isinstance(source := sources[position], ItemQuery) else "" for position in positions
            ]
            try:
                found = await self._searcher.search(
                    command.collection,
                    [rows[position].row for position in positions],
                    modality=one.modality,
                    space=one.space,
                    top_k=command.top_k,
                    item_modality=command.item_modality,
                    # Not older than what was just read: an item must not find itself gone.
                    min_revision=max(command.min_revision, least_revision),
                    where=command.where,
                    terms=command.terms,
                    own_ids=own_ids if any(own_ids) else (),
                    basic=command.basic,
                )
            except IsthmusError as error:
                if error.reason not in _OF_QUERIES:
                    raise
                outcomes.append((positions, error))
            else:
                outcomes.append((positions, found))
        return outcomes
