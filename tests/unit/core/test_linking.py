"""Links between items that nobody paired: how many are right, how probable they say they are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from isthmus.core import NotEnoughItemsError, ShapeError
from isthmus.core.calibration import Calibration, fit_calibration
from isthmus.core.errors import OptionError
from isthmus.core.linking import LinkMode, LinkSides, LinkTerms, assign, candidate_graph, propose_links, two_sided
from tests.unit.core.conftest import Pairs


@pytest.fixture
def calibrated(make_pairs: Callable[..., Pairs]) -> tuple[Calibration, LinkSides]:
    """A calibration of 400 pairs, and 400 other pairs without keys, row i with row i."""
    both = make_pairs(count=800, captions=1, noise=1.0)
    calibration = fit_calibration(
        both.images[:400], both.texts[:400], image_keys=both.image_keys[:400], text_keys=both.text_keys[:400]
    )
    return calibration, LinkSides.of(both.images[400:], both.texts[400:], aligner=None)


def test_assignment_beats_the_best_candidate_of_each(calibrated: tuple[Calibration, LinkSides]) -> None:
    """Knowing that no item is used twice doubles what is right, and no mode claims more than it holds.

    Measured: .375 of 400 links right one-to-one and .505 of the more probable half; by best candidate .18 and .26.
    """
    calibration, sides = calibrated
    found = {}
    for mode in LinkMode:
        links = propose_links(sides, calibration, LinkTerms(mode=mode, expected_share=0.99))
        right = links.images == links.texts
        found[mode] = (right.mean(), right[: len(right) // 2].mean())
        print(mode, *found[mode], links.probabilities.mean())
        assert links.probabilities.mean() <= right.mean() + 0.05
    for mode in (LinkMode.BEST_IMAGE, LinkMode.BEST_TEXT):
        assert found[LinkMode.ONE_TO_ONE][0] >= 1.5 * found[mode][0]
        assert found[LinkMode.ONE_TO_ONE][1] >= 1.5 * found[mode][1]


def test_probabilities_add_up_to_the_expected_links(calibrated: tuple[Calibration, LinkSides]) -> None:
    """Over all candidates, whatever is expected; more expected links are more probable links."""
    calibration, sides = calibrated
    graph = candidate_graph(sides, calibration)
    for share in (0.1, 0.5, 0.9):
        total = two_sided(graph.log_odds, graph.images, graph.texts, expected=share * 400).sum()
        assert total == pytest.approx(share * 400, rel=1e-3)
    low, high = (propose_links(sides, calibration, LinkTerms(expected_share=share)) for share in (0.1, 0.9))
    assert low.probabilities.sum() < high.probabilities.sum()


def test_items_without_a_match_stay_without_a_link(calibrated: tuple[Calibration, LinkSides]) -> None:
    """Half of the images are strangers: at a false-accept rate of .05 at most .05 of them are linked, give or take."""
    calibration, sides = calibrated
    half = LinkSides(
        image_queries=sides.image_queries,
        image_items=sides.image_items,
        text_queries=sides.text_queries[:200],
        text_items=sides.text_items[:200],
    )
    terms = LinkTerms(mode=LinkMode.BEST_TEXT, false_accept_rate=0.05)
    found = propose_links(half, calibration, terms)
    strangers = float((found.images >= 200).sum()) / 200
    print(strangers, len(found.images), (found.images == found.texts).mean())
    assert strangers <= 0.05 + 2 * np.sqrt(2 * 0.05 * 0.95 / 200)
    assert found.accept_above is not None
    assert (found.scores > found.accept_above).all()
    everything = propose_links(half, calibration, LinkTerms(mode=LinkMode.BEST_TEXT))
    assert (everything.images == everything.texts).mean() < (found.images == found.texts).mean()


def test_blocks_cost_little_of_the_whole_assignment() -> None:
    """3,000 x 3,000 with 16 candidates each in blocks of 256 items: .97 of the weight of the whole, .95 asked for."""
    rng = np.random.default_rng(4)
    images = np.repeat(np.arange(3_000), 16)
    texts = (images * 7 + rng.integers(0, 400, size=len(images))) % 3_000
    codes = np.unique(images * 3_000 + texts)
    images, texts = codes // 3_000, codes % 3_000
    weights = rng.exponential(size=len(images))
    whole, blocks = (assign(images, texts, weights, block_items=size) for size in (10_000, 256))
    print(weights[blocks].sum() / weights[whole].sum(), len(blocks), len(whole))
    assert len(set(images[blocks].tolist())) == len(set(texts[blocks].tolist())) == len(blocks)
    assert weights[blocks].sum() >= 0.95 * weights[whole].sum()


def test_candidates_are_the_best_of_either_side(calibrated: tuple[Calibration, LinkSides]) -> None:
    """With 3 candidates the graph is the union of each image's best 3 texts and each text's best 3 images."""
    calibration, sides = calibrated
    scores = sides.log_odds(slice(None), calibration)
    wanted = {(row, column) for row, best in enumerate(np.argsort(-scores, axis=1)[:, :3]) for column in best.tolist()}
    wanted |= {(row, column) for column, best in enumerate(np.argsort(-scores, axis=0)[:3].T) for row in best.tolist()}
    graph = candidate_graph(sides, calibration, count=3)
    assert set(zip(graph.images.tolist(), graph.texts.tolist(), strict=True)) == wanted
    assert graph.log_odds == pytest.approx(scores[graph.images, graph.texts])
    rows, _ = linear_sum_assignment(-scores)
    assert len(rows) == 400


def test_what_cannot_be_linked_is_refused(calibrated: tuple[Calibration, LinkSides]) -> None:
    """No items of a modality, no calibration of pairs, too strict a rate, shares and counts out of bounds."""
    calibration, sides = calibrated
    none = LinkSides.of(sides.image_items, sides.text_items[:0], aligner=None)
    with pytest.raises(NotEnoughItemsError, match="400 images and 0 texts"):
        propose_links(none, calibration)
    with pytest.raises(NotEnoughItemsError, match="has no curve for pairs"):
        propose_links(sides, None)
    with pytest.raises(NotEnoughItemsError, match="at least 1000 impostors"):
        propose_links(sides, calibration, LinkTerms(false_accept_rate=0.001))
    with pytest.raises(OptionError, match="false-accept rate"):
        propose_links(sides, calibration, LinkTerms(false_accept_rate=1.0))
    with pytest.raises(OptionError, match="expected share"):
        LinkTerms(expected_share=1.0)
    with pytest.raises(OptionError, match="candidates"):
        LinkTerms(candidate_count=0)
    with pytest.raises(ShapeError):
        LinkSides.of(sides.image_items, sides.text_items[:, :-1], aligner=None)
