"""Which of the items near a query its answer is made of: words that the gateway and the searcher share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AnswerTerms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTerms:
    """Which items an answer is made of, beside how near they are.

    Attributes:
        exclude_ids: Items that are no answer.
        one_per_pair_key: Of items that share a pair key only the best is an answer, and `top_k` counts what is left.
            Items without a pair key stand each for themselves.
    """

    exclude_ids: tuple[str, ...] = ()
    one_per_pair_key: bool = False
