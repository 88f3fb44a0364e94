"""Retrieval metrics: recall across modalities, and mixed retrieval over both."""

from __future__ import annotations

from isthmus.core.metrics.ranking import TOP_DEPTH, ideal_gain, list_rank, top_figures, top_figures_of_rows
from isthmus.core.metrics.reports import MixedRetrieval, RecallAt, RetrievalReport
from isthmus.core.metrics.retrieval import cross_modal_recall, mixed_retrieval

__all__ = [
    "TOP_DEPTH",
    "MixedRetrieval",
    "RecallAt",
    "RetrievalReport",
    "cross_modal_recall",
    "ideal_gain",
    "list_rank",
    "mixed_retrieval",
    "top_figures",
    "top_figures_of_rows",
]
