"""The keyword channel of a search: text items that hold words asked for, ordered by BM25, beside the vectors' answers.

Its scores are made comparable with those of vectors by the same idea: how surprising is a score among best impostors?
Their location and scale are those of `WordScores`; from there on a score goes the way of a text's cosine, by slope,
intercept and tail of the curve of (query modality, text). All of it rises with BM25, so the order inside the channel
stays. (docs/adr/0034)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, ScoreCurve, WordScores
from isthmus.core.modality import Modality
from isthmus.core.words import terms
from isthmus.index.keywords import bm25
from isthmus.index.merging import Candidates
from isthmus.index.own_items import without_items
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.base.limits import KEYWORDS_MAX_COUNT

__all__ = ["KeywordChannel"]


class KeywordChannel:
    """The text items of a snapshot that hold words asked for.

    Args:
        snapshot: Which to search; its statistics are those of all its live texts.
        words: What is asked for.
        parts: Its segments of texts, with what is left out of the answers dead.
        where: What must hold of the answers; None means nothing.

    Raises:
        FailedPreconditionError: KEYWORDS_DISABLED; the collection keeps no texts.
        InvalidArgumentError: INVALID_FIELD; there is no word in it.
        ResourceExhaustedError: LIMIT_EXCEEDED; there are too many.
    """

    def __init__(self, snapshot: Snapshot, words: str, parts: Sequence[LiveSegment], where: Filter | None) -> None:
        if not snapshot.settings.keyword_search:
            msg = "the collection keeps no texts; keywords need one that was created with keyword_search"
            raise FailedPreconditionError(msg, reason="KEYWORDS_DISABLED", metadata={"field": "keywords"})
        asked = set(terms(words))
        if not asked:
            msg = "keywords holds no letter and no digit"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "keywords"})
        if len(asked) > KEYWORDS_MAX_COUNT:
            msg = f"keywords holds {len(asked)} different terms; the limit is {KEYWORDS_MAX_COUNT}"
            metadata = {"field": "keywords", "limit": str(KEYWORDS_MAX_COUNT), "size": str(len(asked))}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
        every = snapshot.segments[Modality.TEXT]
        posted, texts = bm25([(part.segment.keywords, part.live) for part in every], sorted(asked))
        # Before anything is left out: a score says the same whatever the answers are narrowed to.
        self._impostors = WordScores.of(np.concatenate([scores for _, scores in posted] or [np.empty(0)]), texts)
        self._parts = tuple(parts)
        self._posted = []
        for part, (rows, scores) in zip(parts, posted, strict=True):
            kept = np.ones(len(rows), dtype=np.bool_) if part.live is None else part.live[rows]
            if where is not None:
                kept &= part.segment.attributes.mask(where)[rows]
            self._posted.append((rows[kept], scores[kept]))

    @classmethod
    def asked(
        cls, snapshot: Snapshot, asked: AnswerTerms, wanted: Sequence[Modality], where: Filter | None
    ) -> Self | None:
        """Return the channel that a search asks for; None where it asks for no words, or wants no texts.

        Raises:
            IsthmusError: as of the class.
        """
        if not asked.keywords:
            return None
        parts = without_items(snapshot.segments[Modality.TEXT], asked.exclude_ids)
        channel = cls(snapshot, asked.keywords, parts, where)
        return channel if Modality.TEXT in wanted else None

    def candidates(
        self, queries: NDArray[np.float32], depth: int, *, calibration: Calibration, shares: Mapping[Modality, float]
    ) -> Candidates:
        """Return the best of the channel for each query, best first; equal scores are in the order of their items' ids.

        Args:
            queries: (n, d) float32 aligned queries, to tell the cosines of what is found; d is 0 where there is none.
            depth: How many at most.
            calibration: Of the search.
            shares: Each modality's share of the queries; empty where there is none.
        """
        scores, numbers, rows = self._best(depth)
        curves = [(share, calibration.curves[modality, Modality.TEXT]) for modality, share in shares.items()]
        count = (len(queries), len(rows))
        return Candidates(
            parts=self._parts,
            scores=self._cosines(queries, numbers, rows),
            numbers=np.broadcast_to(numbers, count),
            rows=np.broadcast_to(rows, count),
            merge_scores=np.broadcast_to(self._calibrated(scores, curves), count),
            probabilities=None,
        )

    def scores_of(self, segment: Segment, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the BM25 score of each row, NaN where it holds none of the words."""
        found = np.full(len(rows), np.nan)
        for part, (own, scores) in zip(self._parts, self._posted, strict=True):
            if part.segment is segment and len(own):
                places = np.minimum(np.searchsorted(own, rows), len(own) - 1)
                found = np.where(own[places] == rows, scores[places], np.nan)
        return found

    def _best(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        scores = np.concatenate([scores for _, scores in self._posted] or [np.empty(0)])
        rows = np.concatenate([rows for rows, _ in self._posted] or [np.empty(0, dtype=np.int64)])
        numbers = np.repeat(np.arange(len(self._posted)), [len(own) for own, _ in self._posted]).astype(np.int64)
        if len(scores) > count:
            # All that contest the last place, for it goes by id.
            kept = scores >= np.partition(scores, len(scores) - count)[len(scores) - count]
            scores, numbers, rows = scores[kept], numbers[kept], rows[kept]
        places = zip(numbers.tolist(), rows.tolist(), strict=True)
        ids = [self._parts[number].segment.id_at(row) for number, row in places]
        order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:count]
        return scores[order], numbers[order], rows[order]

    def _calibrated(
        self, scores: NDArray[np.float64], curves: Sequence[tuple[float, ScoreCurve]]
    ) -> NDArray[np.float64]:
        z = self._impostors.z(scores)
        if not curves:
            return z
        calibrated = np.zeros(len(scores))
        for share, curve in curves:
            calibrated += share * (curve.bent(z) * curve.slope + curve.intercept)
        return calibrated

    def _cosines(
        self, queries: NDArray[np.float32], numbers: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if not queries.shape[1] or not len(rows):
            return np.zeros((len(queries), len(rows)), dtype=np.float32)
        places = zip(numbers.tolist(), rows.tolist(), strict=True)
        vectors = np.stack([self._parts[number].segment.vectors[row] for number, row in places])
        return np.asarray(queries @ vectors.T, dtype=np.float32)
