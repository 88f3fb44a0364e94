"""Evaluation protocols over a set of items: exact, and through a search service."""

from __future__ import annotations

from isthmus.evaluation.items import ModalityItems, PairedRows, paired_rows
from isthmus.evaluation.retrieval import Evaluation, evaluate_retrieval
from isthmus.evaluation.through_search import Answer, SearchTally

__all__ = [
    "Answer",
    "Evaluation",
    "ModalityItems",
    "PairedRows",
    "SearchTally",
    "evaluate_retrieval",
    "paired_rows",
]
