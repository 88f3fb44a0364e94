"""Retrieval metrics against brute force, hand-made cases and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score

from isthmus.core import Modality, canonical
from isthmus.core.calibration import Calibration, estimate_calibration
from isthmus.core.keys import key_codes
from isthmus.core.metrics import (
    MixedRetrieval,
    RecallAt,
    RetrievalReport,
    cross_modal_recall,
    ideal_gain,
    list_rank,
    mixed_retrieval,
    top_figures,
    top_figures_of_rows,
)
from tests.unit.core.conftest import Pairs


def codes_of(pairs: Pairs) -> dict[Modality, NDArray[np.int64]]:
    """Return codes by modality."""
    image_codes, text_codes = key_codes(pairs.image_keys, pairs.text_keys)
    return {Modality.IMAGE: image_codes, Modality.TEXT: text_codes}


def recall(pairs: Pairs, query: Modality) -> RecallAt:
    """Judge queries of one modality."""
    codes = codes_of(pairs)
    return cross_modal_recall(
        pairs.vectors[query],
        pairs.vectors[query.other],
        query_codes=codes[query],
        item_codes=codes[query.other],
    )


@pytest.mark.parametrize("query", list(Modality))
def test_recall_equals_a_loop_over_sorted_lists(query: Modality, make_pairs: Callable[..., Pairs]) -> None:
    """Second route: sort every list, look for the first match. No ties in random vectors."""
    pairs = make_pairs(count=70, captions=5, noise=1.2)
    codes = codes_of(pairs)
    ranks = []
    for vector, code in zip(pairs.vectors[query], codes[query], strict=True):
        order = np.argsort(-(pairs.vectors[query.other] @ vector))
        ranks.append(int(np.flatnonzero(codes[query.other][order] == code)[0]))
    expected = [np.mean([rank < depth for rank in ranks]) for depth in (1, 5, 10)]
    found = recall(pairs, query)
    assert [found.r1, found.r5, found.r10] == pytest.approx(expected)
    assert 0.1 < found.r1 < 0.9


def test_perfect_pairs_have_recall_one() -> None:
    """Equal vectors of a pair, different ones between pairs."""
    x = canonical(np.eye(12))
    keys = [str(number) for number in range(12)]
    pairs = Pairs(x, x, keys, keys)
    assert recall(pairs, Modality.TEXT) == RecallAt(r1=1.0, r5=1.0, r10=1.0)


def test_permuting_the_pairs_drops_recall_to_chance(make_pairs: Callable[..., Pairs]) -> None:
    """With keys shuffled, R@10 of 200 photos is a twentieth."""
    pairs = make_pairs(count=200, captions=1)
    shuffled = list(np.random.default_rng(3).permutation(pairs.text_keys))
    assert recall(pairs, Modality.TEXT).r10 > 0.9
    assert recall(Pairs(pairs.images, pairs.texts, pairs.image_keys, shuffled), Modality.TEXT).r10 < 0.12


def test_of_several_captions_the_best_counts() -> None:
    """A photo is found by whichever of its captions ranks first; its other captions take no place before it."""
    images = canonical([[1.0, 0.0], [0.0, 1.0]])
    texts = canonical([[0.0, 1.0], [1.0, 0.1], [1.0, 0.05], [0.1, 1.0]])
    pairs = Pairs(images, texts, ["a", "b"], ["a", "a", "a", "b"])
    # Photo a: its caption 2 is first. Photo b: caption 0 of photo a comes before its own.
    assert recall(pairs, Modality.IMAGE).r1 == 0.5
    assert recall(pairs, Modality.IMAGE).r5 == 1.0


def test_ties_count_half() -> None:
    """Ten equal photos: the sought one shares its place with nine, so its rank is 4.5, never 0."""
    images = canonical(np.ones((10, 3)))
    texts = canonical(np.ones((1, 3)))
    pairs = Pairs(images, texts, [str(number) for number in range(10)], ["0"])
    found = recall(pairs, Modality.TEXT)
    assert (found.r1, found.r5, found.r10) == (0.0, 1.0, 1.0)


def test_blocks_change_nothing(make_pairs: Callable[..., Pairs], monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are the same with one query at a time as with all at once."""
    pairs = make_pairs(count=60, captions=4, noise=1.5)
    codes = codes_of(pairs)
    calibration = Calibration.default()

    def judge() -> tuple[object, ...]:
        mixed = mixed_retrieval(
            np.arange(60), query=Modality.IMAGE, vectors=pairs.vectors, codes=codes, calibration=calibration
        )
        return recall(pairs, Modality.TEXT), recall(pairs, Modality.IMAGE), mixed

    whole = judge()
    monkeypatch.setattr("isthmus.core.metrics.retrieval._BLOCK_SCORES", 1)
    assert judge() == whole


@pytest.mark.parametrize("query", list(Modality))
def test_mixed_retrieval_equals_brute_force(query: Modality, make_pairs: Callable[..., Pairs]) -> None:
    """Second route: one sorted list a query, in plain Python, and scikit-learn's nDCG."""
    pairs = make_pairs(count=40, captions=3, noise=1.0, gap=0.3)
    codes = codes_of(pairs)
    calibration = estimate_calibration(
        np.repeat(pairs.images, 2, axis=0),
        pairs.texts,
        image_keys=[key for key in pairs.image_keys for _ in range(2)],
        text_keys=pairs.text_keys,
    )
    items = [(modality, row) for modality in Modality for row in range(len(pairs.vectors[modality]))]
    ranks, gains, own = [], [], []
    for row in range(len(pairs.vectors[query])):
        scored = []
        for modality, other in items:
            if (modality, other) == (query, row):
                continue
            score = pairs.vectors[query][row] @ pairs.vectors[modality][other]
            merged = float(calibration.merge_scores(score, query=query, item=modality))
            scored.append((merged, modality, bool(codes[modality][other] == codes[query][row])))
        scored.sort(key=lambda entry: -entry[0])
        without_siblings = [entry for entry in scored if not (entry[2] and entry[1] is query)]
        ranks.append(next(place for place, entry in enumerate(without_siblings) if entry[2]))
        relevance, scores = [[float(entry[2]) for entry in scored]], [[entry[0] for entry in scored]]
        gains.append(ndcg_score(relevance, scores, k=10))
        own.append(np.mean([entry[1] is query for entry in scored[:10]]))
    found = mixed_retrieval(
        np.arange(len(pairs.vectors[query])),
        query=query,
        vectors=pairs.vectors,
        codes=codes,
        calibration=calibration,
    )
    expected = MixedRetrieval(
        r1=float(np.mean([rank < 1 for rank in ranks])),
        r10=float(np.mean([rank < 10 for rank in ranks])),
        r20=float(np.mean([rank < 20 for rank in ranks])),
        ndcg10=float(np.mean(gains)),
        own_share=float(np.mean(own)),
    )
    assert vars(found) == pytest.approx(vars(expected))
    assert 0 < found.r1 < found.r20


def test_a_gap_hides_every_match_from_a_plain_merge(make_pairs: Callable[..., Pairs]) -> None:
    """The own-modality half outranks every match: mixed recall 0 while cross-modal recall is healthy (methods 0.4)."""
    pairs = make_pairs(count=120, captions=1, gap=2.0)
    found = mixed_retrieval(
        np.arange(120),
        query=Modality.TEXT,
        vectors=pairs.vectors,
        codes=codes_of(pairs),
        calibration=Calibration.default(),
    )
    assert (found.r20, found.ndcg10, found.own_share) == (0.0, 0.0, 1.0)
    assert recall(pairs, Modality.TEXT).r1 > 0.5


def test_tied_answers_share_their_discounts() -> None:
    """Second route: the mean of scikit-learn's nDCG over every order of the ties, which it averages itself."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        scores = np.sort(rng.integers(0, 4, size=15).astype(np.float64))[::-1]
        relevant = rng.random(15) < 0.4
        if not relevant.any():
            continue
        gain, _ = top_figures(scores, relevant, relevant)
        expected = ndcg_score([relevant.astype(float)], [scores], k=10, ignore_ties=False)
        assert gain / float(ideal_gain(int(relevant.sum()))) == pytest.approx(expected)


def test_a_tie_across_the_tenth_place_shares_it() -> None:
    """Of twenty equal answers, five of them own, any ten hold 2.5 own ones on average."""
    own = np.arange(20) < 5
    _, share = top_figures(np.zeros(20), np.zeros(20, dtype=bool), own)
    assert share == pytest.approx(0.25)


@pytest.mark.parametrize("width", [0, 3, 10, 11, 40])
@pytest.mark.parametrize("levels", [3, 10**9])
def test_rows_at_once_have_the_figures_of_each_row(width: int, levels: int) -> None:
    """Long lists and short ones, with ties at three levels and without, some answers missing."""
    rng = np.random.default_rng(width)
    scores = rng.integers(0, levels, size=(60, width)).astype(np.float64)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    relevant, own = rng.random(scores.shape) < 0.3, rng.random(width) < 0.5
    gain, share = top_figures_of_rows(scores, relevant, own)
    for row, values in enumerate(scores):
        order = np.argsort(-values, kind="stable")[: np.isfinite(values).sum()]
        assert (gain[row], share[row]) == pytest.approx(top_figures(values[order], relevant[row, order], own[order]))


def test_an_empty_list_has_no_figures() -> None:
    """A search that finds nothing counts as nothing found."""
    nothing = np.empty(0)
    flags = nothing.astype(bool)
    assert top_figures(nothing, flags, flags) == (0.0, 0.0)
    assert list_rank(nothing, flags) == np.inf


def test_the_rank_in_a_list_is_strictly_greater_plus_half_the_ties() -> None:
    """The order in which a list happens to show ties does not matter."""
    scores = np.array([5.0, 3.0, 3.0, 3.0, 1.0])
    for place in (1, 2, 3):
        assert list_rank(scores, np.arange(5) == place) == 2.0
    assert list_rank(scores, np.arange(5) >= 3) == 2.0  # two matches: the worse one is no competitor


def test_a_list_shorter_than_ten_is_judged_by_its_length() -> None:
    """The own-modality share of three answers is out of three."""
    _, share = top_figures(np.array([3.0, 2.0, 1.0]), np.zeros(3, bool), np.array([True, False, False]))
    assert share == pytest.approx(1 / 3)


def test_the_report_has_the_keys_of_every_json_answer() -> None:
    """Architecture.md section 5 fixes the names."""
    half = RecallAt(r1=0.5, r5=0.5, r10=0.5)
    mixed = MixedRetrieval(r1=0.1, r10=0.2, r20=0.3, ndcg10=0.4, own_share=0.5)
    report = RetrievalReport(
        pair_count=7,
        image_query_count=7,
        text_query_count=14,
        t2i=half,
        i2t=half,
        mixed_image_query=mixed,
        mixed_text_query=mixed,
    ).to_dict()
    assert report == {
        "n": 7,
        "recall": {side: {"r1": 0.5, "r5": 0.5, "r10": 0.5} for side in ("t2i", "i2t")},
        "mixed": {
            side: {"r1": 0.1, "r10": 0.2, "r20": 0.3, "ndcg10": 0.4, "own_share": 0.5}
            for side in ("image_query", "text_query")
        },
    }


def test_no_queries_have_no_recall() -> None:
    """A mean over nothing is reported as 0 and raises no warning."""
    assert RecallAt.of(np.empty(0)) == RecallAt(r1=0.0, r5=0.0, r10=0.0)
    empty = np.empty(0)
    assert MixedRetrieval.of(empty, ndcg10=empty, own_share=empty).ndcg10 == 0.0
