"""The one pass over all cosines, against sorted lists and the protocol's own implementation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from isthmus.core import Modality
from isthmus.core.calibration import Calibration
from isthmus.core.errors import SpacesMismatchError
from isthmus.core.gap import Corpus, scan_cosines
from isthmus.core.gap.scan import own_neighbors
from isthmus.core.metrics import MixedRetrieval, RecallAt, cross_modal_recall, mixed_retrieval
from tests.unit.core.gap.conftest import Small

both = pytest.mark.parametrize("query", list(Modality))


@both
@pytest.mark.parametrize("captions", [1, 3])
def test_ranks_are_those_of_the_retrieval_protocol(
    query: Modality, captions: int, small_corpus: Callable[..., Small]
) -> None:
    """Second route: `core.metrics`, which holds every score of a query and its masks at once."""
    small = small_corpus(80, captions, gap=0.15)
    corpus, side = small.corpus, small.scan.sides[query]
    rows = np.arange(len(corpus.vectors[query]))
    recall = cross_modal_recall(
        corpus.vectors[query],
        corpus.vectors[query.other],
        query_codes=corpus.codes[query],
        item_codes=corpus.codes[query.other],
    )
    assert RecallAt.of(side.match_rank) == recall
    mixed = mixed_retrieval(
        rows, query=query, vectors=corpus.vectors, codes=corpus.codes, calibration=Calibration.default()
    )
    found = MixedRetrieval.of(side.mixed_rank, ndcg10=side.ndcg10, own_share=side.own_share)
    assert vars(found) == pytest.approx(vars(mixed), abs=1e-12)
    assert 0.0 < mixed.r1 < mixed.r20  # neither nothing nor everything: the comparison means something


@both
def test_ties_are_shared_as_the_protocol_shares_them(query: Modality) -> None:
    """A coarse grid of vectors, nearly all of them tied with others: equal figures again."""
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 2, size=(90, 3)) + 0.5
    keys = [str(number) for number in range(30)]
    corpus = Corpus.of(grid[:30], grid[30:], image_keys=keys, text_keys=keys * 2)
    side = scan_cosines(corpus).sides[query]
    mixed = mixed_retrieval(
        np.arange(len(corpus.vectors[query])),
        query=query,
        vectors=corpus.vectors,
        codes=corpus.codes,
        calibration=Calibration.default(),
    )
    found = MixedRetrieval.of(side.mixed_rank, ndcg10=side.ndcg10, own_share=side.own_share)
    assert vars(found) == pytest.approx(vars(mixed), abs=1e-9)
    recall = cross_modal_recall(
        corpus.vectors[query],
        corpus.vectors[query.other],
        query_codes=corpus.codes[query],
        item_codes=corpus.codes[query.other],
    )
    assert RecallAt.of(side.match_rank) == recall


@both
def test_neighbors_are_those_of_a_full_sort(query: Modality, small_corpus: Callable[..., Small]) -> None:
    """Second route: sort every row; the query itself is not its own neighbour."""
    small = small_corpus(70, 2)
    side = small.scan.sides[query]
    own, other = small.corpus.vectors[query], small.corpus.vectors[query.other]
    to_own, to_other = own @ own.T, own @ other.T
    np.fill_diagonal(to_own, -2.0)
    assert (side.own_neighbors == np.argsort(-to_own, axis=1)[:, :10]).all()
    assert (side.other_neighbors == np.argsort(-to_other, axis=1)[:, :10]).all()
    assert (own_neighbors(own, k=10) == side.own_neighbors).all()
    best = to_other.max(axis=1, keepdims=True)
    assert (side.other_rank == 1 + (to_own > best).sum(axis=1)).all()


@both
def test_average_precision_is_that_of_scikit_learn(query: Modality, small_corpus: Callable[..., Small]) -> None:
    """Second route: its own implementation, list by list, several matches each."""
    small = small_corpus(40, 4, noise=1.0)
    corpus = small.corpus
    scores = corpus.vectors[query] @ corpus.vectors[query.other].T
    relevant = corpus.codes[query][:, None] == corpus.codes[query.other]
    expected = [average_precision_score(hits, row) for hits, row in zip(relevant, scores, strict=True)]
    assert small.scan.sides[query].average_precision == pytest.approx(expected, abs=1e-9)


def test_kernels_are_means_over_all_other_items(small_corpus: Callable[..., Small]) -> None:
    """Second route: every distance, one by one."""
    small = small_corpus(30)
    images, texts = small.corpus.images.astype(float), small.corpus.texts.astype(float)
    side = small.scan.sides[Modality.IMAGE]
    for row, image in enumerate(images):
        own = [np.exp(-2 * np.sum((image - one) ** 2)) for place, one in enumerate(images) if place != row]
        other = [np.exp(-2 * np.sum((image - one) ** 2)) for one in texts]
        assert side.own_kernel[row] == pytest.approx(np.mean(own), rel=1e-5)
        assert side.other_kernel[row] == pytest.approx(np.mean(other), rel=1e-5)


def test_blocks_change_nothing(small_corpus: Callable[..., Small], monkeypatch: pytest.MonkeyPatch) -> None:
    """One query at a time gives what all at once give; products of other shapes may round in the last bit."""
    small = small_corpus(50, 2)
    monkeypatch.setattr("isthmus.core.gap.scan._BLOCK_SCORES", 1)
    again = scan_cosines(small.corpus)
    for query in Modality:
        for name, values in vars(small.scan.sides[query]).items():
            assert getattr(again.sides[query], name) == pytest.approx(values, abs=1e-6), name


def test_items_without_a_match_are_answers_and_not_queries(small_corpus: Callable[..., Small]) -> None:
    """Their rank is unknown; among the answers they still come before worse ones."""
    full = small_corpus(40).corpus
    keys = [*full.keys[Modality.IMAGE]]
    without = Corpus.of(full.images, full.texts, image_keys=keys, text_keys=[*keys[:30], *[None] * 10])
    side = scan_cosines(without).sides[Modality.IMAGE]
    assert np.isnan(side.match_rank[30:]).all()
    assert np.isnan(side.ndcg10[30:]).all()
    assert (side.match_rank[:30] == scan_cosines(full).sides[Modality.IMAGE].match_rank[:30]).all()


def test_two_spaces_have_no_cosines(small_corpus: Callable[..., Small]) -> None:
    """The refusal names both dimensions and what to do."""
    corpus = small_corpus(20).corpus
    two = Corpus.of(corpus.images, corpus.texts[:, :5])
    with pytest.raises(SpacesMismatchError, match="12 and 5 dimensions; fit an aligner"):
        scan_cosines(two)
