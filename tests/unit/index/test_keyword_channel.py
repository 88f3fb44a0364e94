"""Answers of words merged with answers of vectors: each kind keeps its order, an item answers once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.calibration import Calibration
from isthmus.core.modality import Modality
from isthmus.index.model import Neighbor, SearchResult, attributes_to_json
from isthmus.index.ranking import Question, rank_snapshot, search_keywords
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.filters import OneOf
from isthmus.runtime.base.limits import KEYWORDS_MAX_COUNT
from tests.unit.index.hand_made import live_segment
from tests.unit.index.support import ONE_SPACE, SPACE, fitted_calibration, vectors

_KEEPS = replace(ONE_SPACE, keyword_search=True)
_WORDS = ["red", "green", "blue", "small", "large", "round"]


def _texts(texts: list[str], *, start: int = 0, seed: int = 1) -> LiveSegment:
    items = pa.table(
        {
            "id": [f"text-{start + place:03d}" for place in range(len(texts))],
            "attributes": pa.array(
                [attributes_to_json({"odd": place % 2 == 1}, text=text) for place, text in enumerate(texts)],
                pa.binary(),
            ),
            "pair_key": [f"pair-{(start + place) % 5}" for place in range(len(texts))],
            "content_digest": [b""] * len(texts),
            "revision": [1] * len(texts),
            "_rowid": pa.array(range(start, start + len(texts)), pa.uint64()),
        }
    )
    return LiveSegment(Segment(Modality.TEXT, [vectors(seed + start, len(texts))], items))


def _snapshot(*parts: LiveSegment, calibration: Calibration | None = None, images: int = 12) -> Snapshot:
    view: Any = None
    return Snapshot(
        name="things",
        settings=_KEEPS,
        revision=3,
        view=view,
        aligner=None,
        segments={Modality.IMAGE: (live_segment(Modality.IMAGE, vectors(0, images)),), Modality.TEXT: parts},
        calibration=calibration or Calibration.default(),
    )


def _hybrid(snapshot: Snapshot, words: str, **more: Any) -> tuple[Neighbor, ...]:
    options = {"modality": Modality.IMAGE, "space": SPACE, "top_k": 100, **more}
    terms = replace(options.pop("terms", AnswerTerms()), keywords=words)
    return rank_snapshot(snapshot, vectors(99, 1), Question(**options, terms=terms)).neighbors[0]


def _words_alone(snapshot: Snapshot, words: str, **more: Any) -> SearchResult:
    terms = replace(more.pop("terms", AnswerTerms()), keywords=words)
    return search_keywords(snapshot, **{"top_k": 100, "item_modality": None, **more}, terms=terms)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(_WORDS), max_size=5).map(" ".join), min_size=2, max_size=30),
    words=st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3).map(" ".join),
    cut=st.integers(1, 29),
    top_k=st.integers(1, 50),
    calibration=st.sampled_from([None, fitted_calibration()]),
)
def test_each_channel_keeps_its_order_and_an_item_answers_once(
    texts: list[str], words: str, cut: int, top_k: int, calibration: Calibration | None
) -> None:
    """The best of both by calibrated score, in order: what is left out scores less than what is told, in either."""
    cut = min(cut, len(texts) - 1)
    snapshot = _snapshot(_texts(texts[:cut]), _texts(texts[cut:], start=cut), calibration=calibration)
    by_vector = _hybrid_without_words(snapshot)
    by_words = _words_alone(snapshot, words).neighbors[0]
    every = _hybrid(snapshot, words)
    assert {neighbor.item.id for neighbor in every} == {n.item.id for n in by_vector} | {n.item.id for n in by_words}
    assert len({neighbor.item.id for neighbor in every}) == len(every)
    calibrated = [neighbor.calibrated_score for neighbor in every]
    assert calibrated == sorted(calibrated, reverse=True)
    # What was found by its vector keeps the vectors' calibrated score, and so their order; words only lift.
    scores = {neighbor.item.id: neighbor.calibrated_score for neighbor in by_vector}
    places = {neighbor.item.id: place for place, neighbor in enumerate(by_words)}
    lifted = [n for n in every if n.calibrated_score > scores[n.item.id]]
    assert all(n.calibrated_score >= scores[n.item.id] for n in every)
    order = [places[neighbor.item.id] for neighbor in lifted]
    assert order == sorted(order)
    bm25 = {neighbor.item.id: neighbor.keyword_score for neighbor in by_words}
    assert {n.item.id: n.keyword_score for n in every if n.keyword_score is not None} == bm25
    assert [n.item.id for n in _hybrid(snapshot, words, top_k=top_k)] == [n.item.id for n in every[:top_k]]


def _hybrid_without_words(snapshot: Snapshot) -> tuple[Neighbor, ...]:
    question = Question(modality=Modality.IMAGE, space=SPACE, top_k=100)
    return rank_snapshot(snapshot, vectors(99, 1), question).neighbors[0]


class TestWordsAlone:
    """Keywords without a query."""

    def test_answers_are_ordered_by_bm25_and_equal_ones_by_id(self) -> None:
        """The rarer word counts for more; no cosine is told, and no space was searched."""
        snapshot = _snapshot(_texts(["red ball", "blue ball", "a ball", "red ball"], start=0), _texts(["red"], start=4))
        found = _words_alone(snapshot, "ball RED")
        (neighbors,) = found.neighbors
        assert [n.item.id for n in neighbors][:2] == ["text-000", "text-003"]
        assert neighbors[0].keyword_score == neighbors[1].keyword_score
        assert {n.score for n in neighbors} == {0.0}
        assert {n.probability for n in neighbors} == {None}
        assert (found.space, found.calibration, found.revision) == ("", None, 3)

    def test_the_calibrated_score_is_in_deviations_of_the_best_impostor(self) -> None:
        """From ln N + 0.577, by pi / sqrt 6: a name among 1,000 texts is beyond chance, a common word is not."""
        snapshot = _snapshot(_texts([f"common thing SKU {n // 26}-{chr(65 + n % 26)}" for n in range(1_000)]))
        name, common = (_words_alone(snapshot, words).neighbors[0][0] for words in ("11-B", "thing"))
        assert name.item.id == f"text-{11 * 26 + 1:03d}"
        assert name.keyword_score is not None
        location, scale = math.log(1_000) + 0.5772156649015329, math.pi / math.sqrt(6)
        assert name.calibrated_score == pytest.approx((name.keyword_score - location) / scale)
        assert name.calibrated_score > 3  # 6.4
        assert common.calibrated_score < -5  # -5.8

    def test_exclusions_groups_filters_and_dead_rows_hold(self) -> None:
        """As for vectors; statistics stay those of all live texts, so scores do not change with what is left out."""
        parts = _texts(["red", "red", "red", "blue", "red", "red"])
        snapshot = _snapshot(parts)
        full = {n.item.id: n.keyword_score for n in _words_alone(snapshot, "red").neighbors[0]}
        assert sorted(full) == ["text-000", "text-001", "text-002", "text-004", "text-005"]
        left = _words_alone(snapshot, "red", terms=AnswerTerms(exclude_ids=("text-001",))).neighbors[0]
        assert {n.item.id: n.keyword_score for n in left} == {k: v for k, v in full.items() if k != "text-001"}
        odd = _words_alone(snapshot, "red", where=OneOf("odd", (True,))).neighbors[0]
        assert {n.item.id: n.keyword_score for n in odd} == {k: full[k] for k in ("text-001", "text-005")}
        grouped = _words_alone(snapshot, "red", terms=AnswerTerms(one_per_pair_key=True)).neighbors[0]
        assert [n.item.pair_key for n in grouped] == ["pair-0", "pair-1", "pair-2", "pair-4"]
        dead = replace(snapshot, segments={**snapshot.segments, Modality.TEXT: (parts.without(np.array([0, 1, 2])),)})
        assert [n.item.id for n in _words_alone(dead, "red").neighbors[0]] == ["text-004", "text-005"]

    def test_images_are_never_found_by_words(self) -> None:
        """Asked for images only, words find nothing, alone and beside a query."""
        snapshot = _snapshot(_texts(["red"]))
        assert _words_alone(snapshot, "red", item_modality=Modality.IMAGE).neighbors == ((),)
        found = _hybrid(snapshot, "red", item_modality=Modality.IMAGE)
        assert {n.item.modality for n in found} == {Modality.IMAGE}


class TestRefusals:
    """Words that cannot be searched."""

    def test_a_collection_without_texts_is_refused(self) -> None:
        """KEYWORDS_DISABLED."""
        snapshot = replace(_snapshot(_texts(["red"])), settings=ONE_SPACE)
        with pytest.raises(FailedPreconditionError) as caught:
            _words_alone(snapshot, "red")
        assert caught.value.reason == "KEYWORDS_DISABLED"

    def test_no_word_is_refused(self) -> None:
        """Signs alone are no words."""
        with pytest.raises(InvalidArgumentError) as caught:
            _words_alone(_snapshot(_texts(["red"])), " -- !")
        assert (caught.value.reason, caught.value.metadata["field"]) == ("INVALID_FIELD", "keywords")

    def test_so_many_terms_are_taken_and_one_more_is_refused(self) -> None:
        """64 different ones; the error names field, limit and size."""
        snapshot = _snapshot(_texts(["w1"]))
        words = [f"w{number}" for number in range(KEYWORDS_MAX_COUNT + 1)]
        assert len(_words_alone(snapshot, " ".join(words[:-1] * 2)).neighbors[0]) == 1
        with pytest.raises(ResourceExhaustedError) as caught:
            _words_alone(snapshot, " ".join(words))
        assert caught.value.metadata == {
            "field": "keywords",
            "limit": str(KEYWORDS_MAX_COUNT),
            "size": str(KEYWORDS_MAX_COUNT + 1),
        }
