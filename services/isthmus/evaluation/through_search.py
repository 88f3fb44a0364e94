"""The same protocol from the answers of a search service: what users get, approximations included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.metrics import (
    MixedRetrieval,
    RecallAt,
    RetrievalReport,
    ideal_gain,
    list_rank,
    top_figures,
)
from isthmus.core.modality import Modality
from isthmus.evaluation.items import PairedRows, paired_rows

__all__ = ["Answer", "SearchTally"]

_CROSS_DEPTH: Final = 10
_MIXED_DEPTH: Final = 20
_NO_CODE: Final = int(np.iinfo(np.int64).min)
_TIE_MARGIN: Final = 10
"""Answers asked for beyond the depth, so that ties at its edge are seen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One neighbour of a query."""

    item_id: str
    score: float
    """What the list is ordered by: the cosine for answers of one modality, the calibrated score for mixed ones."""
    modality: Modality | None = None
    """Modality of the item; needed only for items that the tally was not told of, such as those without a pair key."""


@dataclass(slots=True)
class _Figures:
    """Per-query figures of one query modality, as they come in."""

    ranks: list[float] = field(default_factory=list)
    mixed_ranks: list[float] = field(default_factory=list)
    ndcg10: list[float] = field(default_factory=list)
    own_share: list[float] = field(default_factory=list)


class SearchTally:
    """Collects answer lists and sums them up; holds a few numbers a query, never the lists.

    A match that a list does not reach counts as not found. Ties are shared as in the exact protocol, as far as the
    list shows them.

    Args:
        ids: Per modality every item's id.
        pair_keys: Per modality every item's pair key; None or empty where it has none.
        pair_limit: Judge at most so many pair keys, chosen by their hash.

    Raises:
        NotEnoughItemsError: No pair key has items of both modalities.
    """

    def __init__(
        self,
        *,
        ids: Mapping[Modality, Sequence[str]],
        pair_keys: Mapping[Modality, Sequence[str | None]],
        pair_limit: int | None = None,
    ) -> None:
        self._ids = ids
        self._pairs: PairedRows = paired_rows(pair_keys, pair_limit=pair_limit)
        self._known = {
            item_id: (modality, int(code))
            for modality in Modality
            for item_id, code in zip(ids[modality], self._pairs.codes[modality], strict=True)
        }
        self._group_size = {
            modality: np.bincount(codes[codes >= 0], minlength=1 + max(0, codes.max(initial=0)))
            for modality, codes in self._pairs.codes.items()
        }
        self._figures = {modality: _Figures() for modality in Modality}

    @property
    def cross_top_k(self) -> int:
        """How many answers to ask for in a search of the other modality."""
        return _CROSS_DEPTH + _TIE_MARGIN

    @property
    def mixed_top_k(self) -> int:
        """How many answers to ask for in a mixed search: the query itself and its siblings come on top."""
        largest = max(int(size.max(initial=0)) for size in self._group_size.values())
        return _MIXED_DEPTH + _TIE_MARGIN + largest

    def queries(self, modality: Modality) -> Iterator[str]:
        """Yield the ids to search with."""
        return (self._ids[modality][row] for row in self._pairs.rows[modality])

    def add_cross(self, query_id: str, answers: Sequence[Answer]) -> None:
        """Take in the answers of the other modality to one query, best first."""
        modality, code = self._known[query_id]
        scores, codes, _ = self._columns(answers)
        self._figures[modality].ranks.append(list_rank(scores, codes == code))

    def add_mixed(self, query_id: str, answers: Sequence[Answer]) -> None:
        """Take in the answers of both modalities to one query, best first; the query itself may be among them."""
        modality, code = self._known[query_id]
        others = [answer for answer in answers if answer.item_id != query_id]
        scores, codes, own = self._columns(others, query=modality)
        relevant = codes == code
        sibling = relevant & own
        figures = self._figures[modality]
        figures.mixed_ranks.append(list_rank(scores[~sibling], relevant[~sibling]))
        gain, share = top_figures(scores, relevant, own)
        figures.ndcg10.append(gain / float(ideal_gain(self._relevant_count(code))))
        figures.own_share.append(share)

    def report(self) -> RetrievalReport:
        """Sum up what was added so far."""
        cross, mixed = {}, {}
        for modality, figures in self._figures.items():
            cross[modality] = RecallAt.of(np.array(figures.ranks))
            mixed[modality] = MixedRetrieval.of(
                np.array(figures.mixed_ranks),
                ndcg10=np.array(figures.ndcg10),
                own_share=np.array(figures.own_share),
            )
        return RetrievalReport(
            pair_count=self._pairs.pair_count,
            image_query_count=len(self._pairs.rows[Modality.IMAGE]),
            text_query_count=len(self._pairs.rows[Modality.TEXT]),
            t2i=cross[Modality.TEXT],
            i2t=cross[Modality.IMAGE],
            mixed_image_query=mixed[Modality.IMAGE],
            mixed_text_query=mixed[Modality.TEXT],
        )

    def _relevant_count(self, code: int) -> int:
        """Return how many other items share the pair key of a query."""
        return sum(int(size[code]) for size in self._group_size.values() if code < len(size)) - 1

    def _columns(
        self, answers: Sequence[Answer], *, query: Modality | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return scores, codes and own-modality flags; an item that the tally was not told of matches nothing."""
        unknown = (None, _NO_CODE)
        known = [self._known.get(answer.item_id, unknown) for answer in answers]
        modalities = [answer.modality or modality for answer, (modality, _) in zip(answers, known, strict=True)]
        scores = np.array([answer.score for answer in answers], dtype=np.float64)
        codes = np.array([code for _, code in known], dtype=np.int64)
        own = np.array([modality is query for modality in modalities], dtype=np.bool_)
        return scores, codes, own
