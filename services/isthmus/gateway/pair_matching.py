"""Match: whatever the two sides of each pair are, make raw embeddings of them and let the searcher judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content, JudgedPairs, PairRows, Row, Stages, StoredVector
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.gather import gather_all
from isthmus.gateway.ports import SearchPort
from isthmus.gateway.search import ItemQuery
from isthmus.gateway.validation import GivenVector
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, NotFoundError

__all__ = ["MatchAnswer", "MatchCommand", "Matcher", "PairSource", "SideSource"]

SideSource = Content | GivenVector | ItemQuery
"""What one side of a pair may be."""

PairSource = Mapping[Modality, SideSource]
"""What both sides are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchCommand:
    """What to judge, and by which collection.

    Attributes:
        collection: Whose encoders, aligner and calibration judge.
        pairs: Both sides of each, or what is wrong with it.
        terms: What the caller chooses.
        refuse_long: Refuse texts that do not fit the encoder's context.
        min_revision: Judge with at least this revision.
    """

    collection: str
    pairs: Sequence[PairSource | IsthmusError]
    terms: MatchTerms
    refuse_long: bool
    min_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchAnswer:
    """What was found.

    Attributes:
        judged: What the searcher found of the pairs whose sides could be embedded.
        errors: What is wrong with the others, and with those that the searcher could not judge, by position.
        truncated: Positions of pairs whose text was cut.
        stages: Where the time went.
    """

    judged: JudgedPairs
    errors: Mapping[int, IsthmusError]
    truncated: Sequence[int]
    stages: Stages


@dataclass(frozen=True, slots=True)
class _Embedded:
    """One side of a pair, embedded."""

    space: str
    row: Row


@dataclass(slots=True)
class _Sides:
    """One modality's side of every pair, while it is being embedded."""

    found: dict[int, _Embedded] = field(default_factory=dict)
    errors: dict[int, IsthmusError] = field(default_factory=dict)


class Matcher:
    """Judges pairs.

    Args:
        searcher: The index searcher.
        embedder: Makes embeddings of contents.
    """

    def __init__(self, *, searcher: SearchPort, embedder: Embedder) -> None:
        self._searcher = searcher
        self._embedder = embedder

    async def match(self, command: MatchCommand) -> MatchAnswer:
        """Judge a batch of pairs; a bad one never fails its neighbours.

        Raises:
            IsthmusError: of an encoder or of the searcher as a whole.
        """
        stages = Stages()
        sides = {modality: _Sides() for modality in Modality}
        pairs = {position: pair for position, pair in enumerate(command.pairs) if not isinstance(pair, IsthmusError)}
        stored, revision = await self._stored(command, pairs)
        for position, pair in pairs.items():
            for modality, source in pair.items():
                _settle(sides[modality], position, source, modality=modality, stored=stored)
        await gather_all(
            [self._embed(modality, sides[modality], pairs, command=command, stages=stages) for modality in Modality]
        )
        errors: dict[int, IsthmusError] = {
            position: pair for position, pair in enumerate(command.pairs) if isinstance(pair, IsthmusError)
        }
        for modality in Modality:
            for position, error in sides[modality].errors.items():
                errors.setdefault(position, error)
        whole = [position for position in pairs if position not in errors]
        judged = await self._searcher.match_pairs(
            command.collection,
            {modality: _by_space(sides[modality].found, whole) for modality in Modality},
            terms=command.terms,
            min_revision=max(command.min_revision, revision),
        )
        stages.align_micros += judged.align_micros
        texts = sides[Modality.TEXT].found
        return MatchAnswer(
            judged=judged,
            errors={**errors, **judged.errors},
            truncated=[position for position in whole if texts[position].row.truncated],
            stages=stages,
        )

    async def _stored(
        self, command: MatchCommand, pairs: Mapping[int, PairSource]
    ) -> tuple[Mapping[str, StoredVector], int]:
        """Return the items that the pairs name, and the revision they were read at."""
        sources = [source for pair in pairs.values() for source in pair.values()]
        ids = list(dict.fromkeys(source.item_id for source in sources if isinstance(source, ItemQuery)))
        if not ids:
            return {}, 0
        return await self._searcher.get_vectors(command.collection, ids, min_revision=command.min_revision)

    async def _embed(
        self,
        modality: Modality,
        side: _Sides,
        pairs: Mapping[int, PairSource],
        *,
        command: MatchCommand,
        stages: Stages,
    ) -> None:
        """Embed one side of every pair that is content."""
        contents = {
            position: source for position, pair in pairs.items() if isinstance(source := pair[modality], Content)
        }
        if not contents:
            return
        embedded = await self._embedder.embed(modality, list(contents.values()), refuse_long=command.refuse_long)
        stages.add(embedded.stages)
        for position, row in zip(contents, embedded.rows, strict=True):
            if isinstance(row, IsthmusError):
                side.errors[position] = row
            else:
                side.found[position] = _Embedded(embedded.encoder.space, row)


def _settle(
    side: _Sides, position: int, source: SideSource, *, modality: Modality, stored: Mapping[str, StoredVector]
) -> None:
    """Take in a side that needs no encoding."""
    if isinstance(source, GivenVector):
        side.found[position] = _Embedded(source.space, source.row)
    elif isinstance(source, ItemQuery):
        item = stored.get(source.item_id)
        field_name = f"{modality.value}_id"
        if item is None:
            msg = f"{field_name} names no item of the collection"
            side.errors[position] = NotFoundError(msg, reason="ITEM_NOT_FOUND", metadata={"field": field_name})
        elif item.modality is not modality:
            msg = f"{field_name} names an item that is no {modality.value}"
            side.errors[position] = InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field_name})
        else:
            side.found[position] = _Embedded(item.space, item.row)


def _by_space(found: Mapping[int, _Embedded], positions: Sequence[int]) -> list[PairRows]:
    """Return the rows of these pairs, a batch for each space and length."""
    groups: dict[tuple[str, int], list[int]] = {}
    for position in positions:
        one = found[position]
        groups.setdefault((one.space, len(one.row.data)), []).append(position)
    return [
        PairRows(space, [found[position].row for position in members], members)
        for (space, _), members in groups.items()
    ]
