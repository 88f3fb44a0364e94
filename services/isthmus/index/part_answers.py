"""What one part of a collection answers: the best of each modality, from which somebody else merges answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, CalibrationSource
from isthmus.core.modality import Modality
from isthmus.index.answers import answers_of
from isthmus.index.examples import ExampleVectors
from isthmus.index.merging import Merged, unit_rows
from isthmus.index.metrics import ALIGN_SECONDS, SEARCH_SECONDS
from isthmus.index.model import ItemView
from isthmus.index.ranking import Asked, Question, ask_examples, ask_queries
from isthmus.index.snapshot import Snapshot

__all__ = ["AlignedItems", "Best", "PartAnswer", "PartFound", "aligned_items", "rank_examples", "rank_queries"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PartAnswer(Generic[T]):
    """What was found, and what fixes it.

    Attributes:
        found: What was found.
        uid: Told apart from an earlier collection of the same name by this.
        revision: The revision that was read.
        order: 8 bytes that are equal while searches are answered from the same order.
    """

    found: T
    uid: str
    revision: int
    order: bytes


@dataclass(frozen=True, slots=True)
class Best:
    """The best of one modality for one query, best first.

    Attributes:
        modality: Their modality.
        scores: (k,) float32.
        items: As many; only id, modality and pair key unless more is asked for.
    """

    modality: Modality
    scores: NDArray[np.float32]
    items: Sequence[ItemView]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFound:
    """The best of a part.

    Attributes:
        best: Of each query, one entry a modality.
        space: The space that was searched.
        source: Where the calibration comes from; None where none was needed.
        curves: What modalities are merged by.
        shares: Each modality's share of the query.
        is_unbounded: Whether scores may leave [-1, 1].
        align_s: Seconds of aligning.
        search_s: Seconds of searching.
    """

    best: Sequence[Sequence[Best]]
    space: str
    source: CalibrationSource | None
    curves: Calibration
    shares: Mapping[Modality, float]
    is_unbounded: bool
    align_s: float
    search_s: float


@dataclass(frozen=True, slots=True)
class AlignedItems:
    """Items in the space that is searched.

    Attributes:
        ids: Of those that are there.
        units: (n, d) float32 unit rows.
        revisions: That each was stored at.
        space: That space; empty where no item is there.
    """

    ids: Sequence[str]
    units: NDArray[np.float32]
    revisions: Sequence[int]
    space: str


def rank_queries(
    snapshot: Snapshot, *, queries: NDArray[np.float32], question: Question, depth: int, items: bool
) -> PartFound:
    """Find the best of each modality for each query.

    Args:
        snapshot: The part.
        queries: (n, d) float32 raw embeddings.
        question: What is asked with them; how many are wanted is not looked at.
        depth: As many of each modality.
        items: Tell of the items what `question` asks for.

    Raises:
        FailedPreconditionError: SPACE_MISMATCH, NO_ALIGNER.
        InvalidArgumentError: INVALID_VECTOR.
    """
    started_s = time.perf_counter()
    asked = ask_queries(snapshot, queries, question)
    return _found(asked, depth, basic=question.basic or not items, started_s=started_s)


def rank_examples(
    snapshot: Snapshot, *, examples: Sequence[ExampleVectors], question: Question, depth: int, items: bool
) -> PartFound:
    """Find the best of each modality for one query that is made of examples; as `rank_queries`.

    Raises:
        InvalidArgumentError: INVALID_FIELD, the examples cancel one another.
    """
    started_s = time.perf_counter()
    asked = ask_examples(
        snapshot, examples, item_modality=question.item_modality, where=question.where, terms=question.terms
    )
    return _found(asked, depth, basic=question.basic or not items, started_s=started_s)


def _found(asked: Asked, depth: int, *, basic: bool, started_s: float) -> PartFound:
    snapshot = asked.snapshot
    aligned_s = time.perf_counter()
    by_modality = [_best(snapshot, modality, merged, basic=basic) for modality, merged in _each(asked, depth)]
    searched_s = time.perf_counter()
    ALIGN_SECONDS.observe(aligned_s - started_s)
    SEARCH_SECONDS.observe(searched_s - aligned_s)
    return PartFound(
        best=list(zip(*by_modality, strict=True)),
        space=snapshot.space(next(iter(asked.shares))),
        source=asked.calibration.source if asked.is_calibrated else None,
        curves=replace(asked.calibration, thresholds=None, pairs=None),
        shares=asked.shares,
        is_unbounded=snapshot.aligner is not None and snapshot.aligner.corrects_hubness,
        align_s=aligned_s - started_s,
        search_s=searched_s - aligned_s,
    )


def _each(asked: Asked, depth: int) -> list[tuple[Modality, list[Merged]]]:
    return list(asked.best_of_each(depth).items())


def _best(snapshot: Snapshot, modality: Modality, merged: Sequence[Merged], *, basic: bool) -> list[Best]:
    answers = answers_of(snapshot, merged, basic=basic)
    return [
        Best(modality, each.scores, [neighbor.item for neighbor in neighbors])
        for each, neighbors in zip(merged, answers, strict=True)
    ]


def aligned_items(snapshot: Snapshot, *, ids: Sequence[str]) -> AlignedItems:
    """Return the items that are there in the space that is searched, in the order asked."""
    places = [place for place in snapshot.find(ids) if place is not None]
    dimension = None if snapshot.aligner is None else snapshot.aligner.dimension
    rows = [place.segment.vectors[place.row, :dimension] for place in places]
    return AlignedItems(
        ids=[place.segment.id_at(place.row) for place in places],
        units=unit_rows(np.stack(rows)) if rows else np.empty((0, 1), dtype=np.float32),
        revisions=[int(place.segment.value("revision", place.row)) for place in places],
        space=snapshot.space(places[0].segment.modality) if places else "",
    )
