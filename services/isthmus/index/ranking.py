"""Answer a batch of queries from a snapshot: check spaces, align, search each modality, merge."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, CalibrationSource
from isthmus.core.diversity import diverse_places
from isthmus.core.modality import Modality
from isthmus.index.answers import answers_of
from isthmus.index.examples import ExampleVectors, combined_query
from isthmus.index.few_left import FEW_ROWS, search_few
from isthmus.index.keyword_channel import KeywordChannel
from isthmus.index.merging import Candidates, Merged, first_of_each, merge
from isthmus.index.metrics import ALIGN_SECONDS, SEARCH_SECONDS
from isthmus.index.model import SearchResult
from isthmus.index.own_items import own_places, without_items, without_own
from isthmus.index.search_pool import side_by_side
from isthmus.index.segments import Chosen, LiveSegment
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.base.no_aligner import no_aligner

__all__ = [
    "Asked",
    "Question",
    "ask_examples",
    "ask_queries",
    "rank_snapshot",
    "search_examples",
    "search_keywords",
    "search_snapshot",
]

_SPARE_MAX_COUNT: Final = 1_024
"""Items looked at beyond those wanted, where one score holds the last place. Of more equals, which of them come last is
as their rows lie."""
_DEPTH_GROWTH: Final = 4
"""So many times as many candidates are fetched where those at hand make too few answers."""
_CANDIDATES_MAX_COUNT: Final = 262_144
"""Candidates of all queries together that are held at a time; one query may need more."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked with a batch of queries, beside their vectors."""

    modality: Modality
    """Of the queries."""
    space: str
    """Their raw space."""
    top_k: int
    """Neighbours a query."""
    item_modality: Modality | None = None
    """Of the answers; None means any."""
    where: Filter | None = None
    """What must hold of the answers; None means nothing."""
    terms: AnswerTerms | None = None
    """What answers are made of; None means whatever is nearest."""
    own_ids: tuple[str, ...] = ()
    """Of each query the item that it is, which is no answer to it; empty where it is none. None at all: no query is."""
    basic: bool = False
    """Tell of the answers' items only id, modality and pair key."""


def search_snapshot(snapshot: Snapshot, queries: NDArray[np.float32], question: Question) -> SearchResult:
    """Find the nearest items of each query for a caller, and export how long that took. As `rank_snapshot`."""
    found = rank_snapshot(snapshot, queries, question)
    ALIGN_SECONDS.observe(found.align_s)
    SEARCH_SECONDS.observe(found.search_s)
    return found


def rank_snapshot(snapshot: Snapshot, queries: NDArray[np.float32], question: Question) -> SearchResult:
    """Find the nearest items of each query.

    Args:
        snapshot: What to search.
        queries: (n, d) float32 raw embeddings.
        question: What is asked with them.

    Raises:
        FailedPreconditionError: SPACE_MISMATCH, or NO_ALIGNER with the command that mends it in the metadata.
        InvalidArgumentError: INVALID_VECTOR; another dimension than the space's.
    """
    started_s = time.perf_counter()
    asked = ask_queries(snapshot, queries, question)
    return _answered(asked, top_k=question.top_k, started_s=started_s, basic=question.basic)


def ask_queries(snapshot: Snapshot, queries: NDArray[np.float32], question: Question) -> Asked:
    """Return what the structures are asked with for a batch of queries; arguments and errors as of `rank_snapshot`."""
    modality = question.modality
    _check_queries(snapshot, queries, modality=modality, space=question.space, field="queries")
    wanted = _wanted_modalities(snapshot, {modality}, question.item_modality)
    aligned = np.ascontiguousarray(snapshot.query_rows(queries, modality))
    terms = question.terms or AnswerTerms()
    keywords = KeywordChannel.asked(snapshot, terms, wanted, question.where)
    return Asked(
        snapshot,
        aligned,
        {modality: 1.0},
        wanted,
        question.where,
        terms,
        own_ids=question.own_ids,
        keywords=keywords,
    )


def search_examples(
    snapshot: Snapshot,
    examples: Sequence[ExampleVectors],
    *,
    top_k: int,
    item_modality: Modality | None,
    where: Filter | None = None,
    terms: AnswerTerms | None = None,
    basic: bool = False,
) -> SearchResult:
    """Find the items nearest to one query that is made of examples. No probability is told: none was fitted to such.

    Args:
        snapshot: What to search.
        examples: At least one.
        top_k: Neighbours wanted.
        item_modality: Of the answers; None means any.
        where: What must hold of the answers; None means nothing.
        terms: What answers are made of; None means whatever is nearest.
        basic: Tell of the answers' items only id, modality and pair key.

    Raises:
        FailedPreconditionError: SPACE_MISMATCH; NO_ALIGNER, where examples and answers are of two modalities.
        InvalidArgumentError: INVALID_VECTOR; INVALID_FIELD, the examples cancel one another.
    """
    started_s = time.perf_counter()
    asked = ask_examples(snapshot, examples, item_modality=item_modality, where=where, terms=terms)
    found = _answered(asked, top_k=top_k, started_s=started_s, basic=basic)
    ALIGN_SECONDS.observe(found.align_s)
    SEARCH_SECONDS.observe(found.search_s)
    return found


def search_keywords(
    snapshot: Snapshot,
    *,
    top_k: int,
    item_modality: Modality | None,
    where: Filter | None = None,
    terms: AnswerTerms,
    basic: bool = False,
) -> SearchResult:
    """Find the text items that hold words of `terms.keywords`, by BM25; no vector is looked at.

    Raises:
        FailedPreconditionError: KEYWORDS_DISABLED; the collection keeps no texts.
        InvalidArgumentError: INVALID_FIELD; there is no word among them.
        ResourceExhaustedError: LIMIT_EXCEEDED; there are too many.
    """
    started_s = time.perf_counter()
    wanted = (Modality.TEXT,) if item_modality is None else (item_modality,)
    keywords = KeywordChannel.asked(snapshot, terms, wanted, where)
    # Images hold no words: nothing is left to look at.
    queries = np.empty((0 if keywords is None else 1, 0), dtype=np.float32)
    found = _answered(
        Asked(snapshot, queries, {}, (), where, terms, keywords=keywords),
        top_k=top_k,
        started_s=started_s,
        basic=basic,
    )
    if keywords is None:
        found = replace(found, neighbors=((),))
    SEARCH_SECONDS.observe(found.search_s)
    return found


def ask_examples(
    snapshot: Snapshot,
    examples: Sequence[ExampleVectors],
    *,
    item_modality: Modality | None,
    where: Filter | None = None,
    terms: AnswerTerms | None = None,
) -> Asked:
    """Return what the structures are asked with for one query made of examples; as of `search_examples`."""
    for batch in examples:
        _check_queries(snapshot, batch.rows, modality=batch.modality, space=batch.space, field="examples")
    wanted = _wanted_modalities(snapshot, {batch.modality for batch in examples}, item_modality)
    query, shares = combined_query(snapshot, examples)
    terms = terms or AnswerTerms()
    keywords = KeywordChannel.asked(snapshot, terms, wanted, where)
    return Asked(snapshot, query, shares, wanted, where, terms, tells_probability=False, keywords=keywords)


def _answered(asked: Asked, *, top_k: int, started_s: float, basic: bool) -> SearchResult:
    snapshot = asked.snapshot
    aligned_s = time.perf_counter()
    neighbors = answers_of(snapshot, asked.chosen(top_k), basic=basic, keywords=asked.keywords)
    searched_s = time.perf_counter()
    return SearchResult(
        neighbors=neighbors,
        revision=snapshot.revision,
        space=snapshot.space(next(iter(asked.shares))) if asked.shares else "",
        calibration=asked.calibration.source if asked.is_calibrated else None,
        align_s=aligned_s - started_s,
        search_s=searched_s - aligned_s,
    )


def _check_queries(
    snapshot: Snapshot, queries: NDArray[np.float32], *, modality: Modality, space: str, field: str
) -> None:
    settings = snapshot.settings
    expected = settings.space(modality)
    if space != expected or not expected:
        msg = f"the query is not of the collection's {modality} space"
        metadata = {"modality": modality.value, "space": space, "expected": expected}
        raise FailedPreconditionError(msg, reason="SPACE_MISMATCH", metadata=metadata)
    if queries.shape[1] != settings.dimension(modality):
        msg = f"{field} has dimension {queries.shape[1]}; expected {settings.dimension(modality)}"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": field})
    if not np.isfinite(queries).all():
        msg = f"{field} holds a value that is not finite"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": field})


def _wanted_modalities(
    snapshot: Snapshot, asked: set[Modality], item_modality: Modality | None
) -> tuple[Modality, ...]:
    settings = snapshot.settings
    wanted = settings.modalities if item_modality is None else (item_modality,)
    if settings.needs_aligner and snapshot.aligner is None and len(asked.union(wanted)) > 1:
        raise no_aligner()
    return wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """What structures are asked with, and what makes the scores of two modalities comparable.

    Attributes:
        snapshot: What is searched.
        rows: (n, d) float32 aligned queries.
        shares: Each modality's share of the queries; they add up to 1.
        wanted: Modalities of the answers.
        where: What must hold of the answers; None means nothing.
        terms: What answers are made of.
        tells_probability: Whether the calibration's probabilities are about such queries.
        own_ids: As of `Question`.
        keywords: What the words asked for find; None where none were, or no texts are wanted.
    """

    snapshot: Snapshot
    rows: NDArray[np.float32]
    shares: Mapping[Modality, float]
    wanted: tuple[Modality, ...]
    where: Filter | None
    terms: AnswerTerms
    tells_probability: bool = True
    own_ids: tuple[str, ...] = ()
    keywords: KeywordChannel | None = None

    @property
    def is_calibrated(self) -> bool:
        """One list of answers by itself needs no calibration, but a fitted one also tells a probability."""
        lists = len(self.wanted) + (self.keywords is not None)
        return lists > 1 or (bool(self.wanted) and self.snapshot.calibration.source is CalibrationSource.FITTED)

    @property
    def calibration(self) -> Calibration:
        """What makes the scores of two modalities comparable."""
        return self.snapshot.calibration if self.is_calibrated else Calibration.default()

    def chosen(self, top_k: int) -> list[Merged]:
        """Return what each query is answered with, all of the same `parts`.

        Where only the best of each pair key counts, more candidates are fetched until there are as many answers as are
        wanted, or no more items. Near-duplicates and diversity look at `AnswerTerms.depth` of these.
        """
        wanted = self.terms.depth(top_k + self.terms.offset)
        parts = {modality: self._parts(modality) for modality in self.wanted}
        answers: dict[int, Merged] = {}
        # What is found by vector and by words is found twice.
        growth = _DEPTH_GROWTH if self.terms.one_per_pair_key else 1 if self.keywords is None else 2
        waiting, depth = np.arange(len(self.rows)), wanted * growth
        while len(waiting):
            short = []
            # All at once while the answers are as many as the candidates; else no more than memory has room for.
            size = max(1, _CANDIDATES_MAX_COUNT // depth) if depth > wanted else len(waiting)
            for start in range(0, len(waiting), size):
                queries = waiting[start : start + size]
                found = [self._candidates(parts[modality], queries, modality, depth) for modality in self.wanted]
                if self.keywords is not None:
                    found.append(
                        self.keywords.candidates(
                            self.rows[queries], depth, calibration=self.calibration, shares=self.shares
                        )
                    )
                for place, query in enumerate(queries.tolist()):
                    merged = merge(found, place, depth)
                    chosen = merged if self.keywords is None else merged.chosen(merged.first_of_items())
                    if self.terms.one_per_pair_key:
                        chosen = chosen.chosen(first_of_each(chosen.pair_keys()))
                    if len(chosen) < wanted and len(merged) == depth:
                        short.append(query)
                    else:
                        answers[query] = self._answer(chosen.first(wanted), top_k)
            waiting, depth = np.array(short, dtype=np.int64), depth * _DEPTH_GROWTH
        return [answers[query] for query in range(len(self.rows))]

    def _answer(self, candidates: Merged, top_k: int) -> Merged:
        """Choose the answers to one query among the best candidates."""
        terms = self.terms
        if terms.collapse_above is not None or terms.mmr_lambda is not None:
            aligner = self.snapshot.aligner
            units = candidates.unit_rows(None if aligner is None else aligner.dimension)
            kept = diverse_places(
                units,
                candidates.kinds(),
                candidates.merge_scores,
                collapse_above=terms.collapse_above,
                mmr_lambda=terms.mmr_lambda,
                count=top_k,
            )
            candidates = candidates.chosen(kept)
        if not terms.offset:
            return candidates.first(top_k)
        return candidates.chosen(np.arange(terms.offset, min(terms.offset + top_k, len(candidates))))

    def best_of_each(self, depth: int) -> dict[Modality, list[Merged]]:
        """Return of each modality wanted the best `depth` for each query, by score and then by id."""
        queries = np.arange(len(self.rows))
        found = {}
        for modality in self.wanted:
            candidates = self._candidates(self._parts(modality), queries, modality, depth)
            found[modality] = [merge([candidates], query, depth) for query in queries.tolist()]
        return found

    def _parts(self, modality: Modality) -> tuple[LiveSegment, ...]:
        return without_items(self.snapshot.segments[modality], self.terms.exclude_ids)

    def _candidates(
        self, parts: Sequence[LiveSegment], queries: NDArray[np.int64], item: Modality, depth: int
    ) -> Candidates:
        # One more than wanted, where the query itself may be among them.
        scores, numbers, rows = _best_of(
            parts, self.rows[queries], depth + bool(self.own_ids), self.where, exact=self.terms.exact
        )
        if self.own_ids:
            own = own_places(parts, [self.own_ids[query] for query in queries.tolist()])
            scores, numbers, rows = without_own(scores, numbers, rows, own, depth)
        calibration = self.calibration
        probabilities = None
        if self.tells_probability:
            (modality,) = self.shares
            probabilities = calibration.probabilities(scores, query=modality, item=item)
        return Candidates(
            parts=parts,
            scores=scores,
            numbers=numbers,
            rows=rows,
            merge_scores=calibration.mixed_scores(scores, shares=self.shares, item=item),
            probabilities=probabilities,
        )


def _best_of(
    parts: Sequence[LiveSegment],
    queries: NDArray[np.float32],
    top_k: int,
    where: Filter | None,
    *,
    exact: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Search every segment and keep the best, best first; equal scores are in the order of their items' ids.

    How rows lie in segments depends on how a collection came to be read: by and by, or at once after a promotion, a
    rollback or a restart. Its answers must not.
    """
    if not parts:
        empty = np.empty((len(queries), 0), dtype=np.int64)
        return empty.astype(np.float32), empty, empty
    # One more than wanted shows whether the last place is contested; then all who contest it are needed.
    spare = 1
    scores, numbers, rows = _nearest(parts, queries, top_k + spare, where, exact=exact)
    while _contested(scores, top_k, top_k + spare) and spare < _SPARE_MAX_COUNT:
        spare = min(8 * spare, _SPARE_MAX_COUNT)
        scores, numbers, rows = _nearest(parts, queries, top_k + spare, where, exact=exact)
    tied = (scores[:, 1:] == scores[:, :-1]) & (scores[:, 1:] > -np.inf)
    for query in np.flatnonzero(tied[:, :top_k].any(axis=1)).tolist():
        places = zip(numbers[query].tolist(), rows[query].tolist(), strict=True)
        ids = [parts[number].segment.id_at(row) if row >= 0 else "" for number, row in places]
        order = sorted(range(len(ids)), key=lambda place: (-scores[query, place], ids[place]))
        scores[query], numbers[query], rows[query] = scores[query][order], numbers[query][order], rows[query][order]
    return scores[:, :top_k], numbers[:, :top_k], rows[:, :top_k]


def _nearest(
    parts: Sequence[LiveSegment], queries: NDArray[np.float32], count: int, where: Filter | None, *, exact: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return scores, segments and rows of the best of all segments, best first, (n, at most count)."""
    chosen: list[Chosen | None] = [None] * len(parts)
    if where is not None:
        left = side_by_side([partial(part.chosen, where) for part in parts])
        if sum(each.count for each in left) <= FEW_ROWS and (
            exact or not any(part.is_arranged_for(count, each) for part, each in zip(parts, left, strict=True))
        ):
            return search_few(parts, queries, count, left)
        chosen = [*left]
    found = side_by_side(
        [
            partial(part.search, queries, count, where, exact=exact, chosen=each)
            for part, each in zip(parts, chosen, strict=True)
        ]
    )
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    rows = np.concatenate([rows for _, rows in found], axis=1)
    numbers = np.concatenate([np.full(rows.shape[1], number) for number, (_, rows) in enumerate(found)])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, axis=1), numbers[order], np.take_along_axis(rows, order, axis=1)


def _contested(scores: NDArray[np.float32], top_k: int, count: int) -> bool:
    """Return whether there may be more items of the score that holds the last place wanted, beyond those at hand."""
    if scores.shape[1] < count:
        return False
    last = scores[:, -1]
    return bool(((scores[:, top_k - 1] == last) & (last > -np.inf)).any())
