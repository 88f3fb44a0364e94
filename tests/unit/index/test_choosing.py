"""Near-duplicates and diversity over mixed answers, against a loop over everything."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.core.aligners import FitOptions, Label
from isthmus.core.modality import Modality
from isthmus.core.recipe import RawPairs, fit_calibrated
from isthmus.index.model import AlignerFiles
from isthmus.index.ranking import Question, search_snapshot
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.limits import DEPTH_MAX_COUNT, DEPTH_MIN_COUNT
from tests.unit.index.hand_made import snapshot_of
from tests.unit.index.support import SPACE, identity, vectors

_COUNT = 70
_RAW = {Modality.IMAGE: vectors(0, _COUNT), Modality.TEXT: vectors(1, _COUNT)}
_QUERIES = vectors(2, 3)


@functools.cache
def _snapshot(*, corrects_hubness: bool) -> Snapshot:
    """Return 140 items, image n and text n of one pair, under an aligner that keeps vectors or one that moves them."""
    aligner = identity()
    if corrects_hubness:
        keys = [f"pair-{number}" for number in range(240)]
        pairs = RawPairs(
            images=vectors(3, 240),
            texts=vectors(4, 240),
            image_keys=keys,
            text_keys=keys,
            image_space=SPACE,
            text_space=SPACE,
        )
        label = Label(aligner_id="hub", created_by="test")
        artefact = fit_calibrated("center", pairs, label=label, options=FitOptions(hubness=True))
        aligner = AlignerFiles(*artefact.to_bytes())
    return snapshot_of({kind: [rows[:40], rows[40:]] for kind, rows in _RAW.items()}, aligner=aligner)


def _aligned(snapshot: Snapshot, item_id: str) -> NDArray[np.float64]:
    kind, number = item_id.split("-")
    assert snapshot.aligner is not None
    modality = Modality(kind)
    row = snapshot.aligner.align(_RAW[modality][int(number)][None], modality)[0].astype(np.float64)
    return np.asarray(row / np.linalg.norm(row))


def _search(snapshot: Snapshot, top_k: int, terms: AnswerTerms) -> list[list[tuple[str, float]]]:
    question = Question(modality=Modality.TEXT, space=SPACE, top_k=top_k, terms=terms)
    found = search_snapshot(snapshot, _QUERIES, question)
    return [[(each.item.id, each.calibrated_score) for each in answers] for answers in found.neighbors]


def _chosen(snapshot: Snapshot, ranked: list[tuple[str, float]], terms: AnswerTerms, top_k: int) -> list[str]:
    """Go through candidates as the definitions say; discards what floats leave undecided."""
    rows = {item_id: _aligned(snapshot, item_id) for item_id, _ in ranked}
    kept: list[tuple[str, float]] = []
    for item_id, score in ranked:
        kind = item_id.split("-")[0]
        near = [float(rows[item_id] @ rows[other]) for other, _ in kept if other.startswith(kind)]
        if terms.collapse_above is not None:
            assume(all(abs(each - terms.collapse_above) > 1e-5 for each in near))
        if terms.collapse_above is None or not any(each >= terms.collapse_above for each in near):
            kept.append((item_id, score))
    if terms.mmr_lambda is None:
        return [item_id for item_id, _ in kept[:top_k]]
    high, low = kept[0][1], kept[-1][1]
    chosen = [kept[0][0]]
    while len(chosen) < min(top_k, len(kept)):
        worths = {
            item_id: terms.mmr_lambda * (score - low) / (high - low)
            - (1 - terms.mmr_lambda) * max(float(rows[item_id] @ rows[other]) for other in chosen)
            for item_id, score in kept
            if item_id not in chosen
        }
        best, *rest = sorted(worths, key=lambda item_id: -worths[item_id])
        assume(not rest or worths[best] - worths[rest[0]] > 1e-5)
        chosen.append(best)
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    corrects_hubness=st.booleans(),
    top_k=st.integers(1, 40),
    one_per_pair_key=st.booleans(),
    collapse_above=st.one_of(st.none(), st.floats(0.2, 0.9)),
    mmr_lambda=st.one_of(st.none(), st.floats(0.0, 1.0)),
)
def test_answers_are_chosen_as_the_definitions_say(
    *,
    corrects_hubness: bool,
    top_k: int,
    one_per_pair_key: bool,
    collapse_above: float | None,
    mmr_lambda: float | None,
) -> None:
    """Groups first, then near-duplicates, then diversity, over the best 4 x top_k candidates and at least 100."""
    snapshot = _snapshot(corrects_hubness=corrects_hubness)
    terms = AnswerTerms(one_per_pair_key=one_per_pair_key, collapse_above=collapse_above, mmr_lambda=mmr_lambda)
    depth = max(100, 4 * top_k) if (collapse_above, mmr_lambda) != (None, None) else top_k
    ranked = _search(snapshot, depth, AnswerTerms(one_per_pair_key=one_per_pair_key))
    found = _search(snapshot, top_k, terms)
    for answers, candidates in zip(found, ranked, strict=True):
        assert [item_id for item_id, _ in answers] == _chosen(snapshot, candidates, terms, top_k)


@pytest.mark.parametrize(("top_k", "depth"), [(1, 100), (25, 100), (26, 104), (250, 1_000), (1_000, 1_000)])
def test_the_candidates_are_so_many(top_k: int, depth: int) -> None:
    """Four times as many as answers, within bounds; without such terms no more than answers."""
    assert AnswerTerms(collapse_above=0.9).depth(top_k) == AnswerTerms(mmr_lambda=0.5).depth(top_k) == depth
    assert DEPTH_MIN_COUNT <= depth <= DEPTH_MAX_COUNT
    assert AnswerTerms(one_per_pair_key=True).depth(top_k) == top_k
