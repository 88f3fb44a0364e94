"""Which of the items near a query its answer is made of: words that the gateway and the searcher share."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.runtime.base.limits import DEPTH_FACTOR, DEPTH_MAX_COUNT, DEPTH_MIN_COUNT

__all__ = ["AnswerTerms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTerms:
    """Which items an answer is made of, beside how near they are.

    Attributes:
        exclude_ids: Items that are no answer.
        one_per_pair_key: Of items that share a pair key only the best is an answer, and `top_k` counts what is left.
            Items without a pair key stand each for themselves.
        collapse_above: An item is no answer if a better answer of its modality has at least this cosine with it, in the
            space that is searched, above 0 and at most 1; None keeps all.
        mmr_lambda: Answers are chosen by maximal marginal relevance with this weight on relevance, 0 to 1; None orders
            them by relevance alone.
        offset: So many of the best are left out; 0 with the two before.
        expected_order: The order that is continued; empty means any.
        exact: All vectors are searched, whatever structures a searcher has for answering sooner.
        keywords: Words that text items are found by too, beside their vectors; empty means by vectors alone.
        allow_partial: Where a collection is split, the parts that answer in time will do.
    """

    exclude_ids: tuple[str, ...] = ()
    one_per_pair_key: bool = False
    collapse_above: float | None = None
    mmr_lambda: float | None = None
    offset: int = 0
    expected_order: bytes = b""
    exact: bool = False
    keywords: str = ""
    allow_partial: bool = False

    @property
    def is_paged(self) -> bool:
        """Whether more answers continue the same order: what is chosen among a number of candidates does not."""
        return self.collapse_above is None and self.mmr_lambda is None

    def depth(self, top_k: int) -> int:
        """Return how many of the best candidates an answer of `top_k` is chosen from."""
        if self.collapse_above is None and self.mmr_lambda is None:
            return top_k
        return max(top_k, min(DEPTH_MAX_COUNT, max(DEPTH_MIN_COUNT, DEPTH_FACTOR * top_k)))
