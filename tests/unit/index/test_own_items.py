"""Queries of a batch that are items: each is left out of its own answers only."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.modality import Modality
from isthmus.index.ranking import Question, rank_snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from tests.unit.index.hand_made import snapshot_of
from tests.unit.index.support import SPACE, vectors

_PLACES = vectors(3, 5)
"""Few places, so that many items have equal scores."""


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    asked=st.lists(st.integers(-1, 45), min_size=1, max_size=9),
    top_k=st.integers(1, 50),
    cut=st.integers(0, 40),
)
def test_a_batch_with_items_is_answered_as_each_alone(rows: list[int], asked: list[int], top_k: int, cut: int) -> None:
    """Of items in few places, cut into two segments: the batch gives what single searches without the item give."""
    placed = _PLACES[rows]
    parts = [part for part in np.split(placed, [min(cut, len(rows))]) if len(part)]
    snapshot = snapshot_of({Modality.IMAGE: parts})
    ids = [f"image-{number}" if number >= 0 else "" for number in asked]
    queries = placed[[max(number, 0) % len(rows) for number in asked]]
    question: dict[str, Any] = {"modality": Modality.IMAGE, "space": SPACE, "top_k": top_k}
    batch = rank_snapshot(snapshot, queries, Question(**question, own_ids=tuple(ids)))
    for query, own, found in zip(queries, ids, batch.neighbors, strict=True):
        terms = AnswerTerms(exclude_ids=(own,) if own else ())
        (alone,) = rank_snapshot(snapshot, query[None], Question(**question, terms=terms)).neighbors
        assert found == alone
