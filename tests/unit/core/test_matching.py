"""Pairs by themselves: a stated share of false accepts on other pairs than those fitted, probabilities that hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import CoreError, Modality, NotEnoughItemsError, ShapeError
from isthmus.core.aligners import FitOptions, FitPairs, Label, fit_artefact, load_aligner
from isthmus.core.calibration import (
    Calibration,
    Impostor,
    PairCurve,
    estimate_calibration,
    fit_calibration,
    reliability,
)
from isthmus.core.errors import OptionError
from isthmus.core.matching import Decision, MatchTerms, PairSides, judge_pairs
from tests.unit.core.conftest import SPACE, Pairs

FIT_SEED, JUDGE_SEED = 5, 6


def fitted(pairs: Pairs) -> Calibration:
    """Fit to all pairs."""
    return fit_calibration(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)


def grid(pairs: Pairs, calibration: Calibration) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the pair scores of every image with every text, and which belong together."""
    cosines = pairs.images @ pairs.texts.T
    belong = np.array(pairs.image_keys)[:, None] == np.array(pairs.text_keys)
    return calibration.pair_scores(cosines, cosines), belong


def halves(make_pairs: Callable[..., Pairs], count: int = 400) -> tuple[Pairs, Pairs]:
    """Return pairs to calibrate on and others to judge, of one distribution."""
    both = make_pairs(count=2 * count, captions=2, noise=1.0)
    return tuple(  # type: ignore[return-value]
        Pairs(
            both.images[half],
            both.texts[2 * half.start : 2 * half.stop],
            both.image_keys[half],
            both.text_keys[2 * half.start : 2 * half.stop],
        )
        for half in (slice(0, count), slice(count, 2 * count))
    )


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_random_impostors_are_accepted_at_the_stated_rate(make_pairs: Callable[..., Pairs], rate: float) -> None:
    """On other pairs than those fitted: measured .0092 and .0486 of 319,200 impostor pairs."""
    calibrated, judged = halves(make_pairs)
    calibration = fitted(calibrated)
    scores, belong = grid(judged, calibration)
    assert calibration.pairs is not None
    accepted = (scores[~belong] > calibration.pairs.accept_above(rate)).mean()
    assert 0.5 * rate <= accepted <= 1.3 * rate


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_best_impostors_are_accepted_at_the_stated_rate(make_pairs: Callable[..., Pairs], rate: float) -> None:
    """The best text of another pair key, for each of 400 images: measured .02 and .1975; two standard errors on top."""
    calibrated, judged = halves(make_pairs)
    calibration = fitted(calibrated)
    scores, belong = grid(judged, calibration)
    best = np.where(belong, -np.inf, scores).max(axis=1)
    assert calibration.pairs is not None
    accepted = (best > calibration.pairs.accept_above(rate, impostor=Impostor.BEST)).mean()
    assert accepted <= rate + 2 * np.sqrt(2 * rate * (1 - rate) / len(best))
    # A random impostor passes far less often: the two rates are two questions.
    assert (scores[~belong] > calibration.pairs.accept_above(rate, impostor=Impostor.BEST)).mean() < rate / 10


def test_matches_are_refused_outright_at_the_stated_rate(make_pairs: Callable[..., Pairs]) -> None:
    """Below the lower threshold lie as few matches as the rate says: 5 % of 800 stated, 7 % measured."""
    calibrated, judged = halves(make_pairs)
    calibration = fitted(calibrated)
    scores, belong = grid(judged, calibration)
    assert calibration.pairs is not None
    assert 0.02 <= (scores[belong] < calibration.pairs.refuse_below(0.05)).mean() <= 0.08


def test_probabilities_hold_under_the_stated_prior(make_pairs: Callable[..., Pairs]) -> None:
    """Expected calibration error of other pairs, half of them matches: measured .016; a tenth of them: .006.

    With the wrong prior it is .19, so the prior does what it says.
    """
    calibrated, judged = halves(make_pairs)
    calibration = fitted(calibrated)
    curve = calibration.pairs
    assert curve is not None
    scores, belong = grid(judged, calibration)
    rng = np.random.default_rng(3)

    def error(share: float, prior: float) -> float:
        matches = scores[belong]
        strangers = rng.choice(scores[~belong], round(len(matches) * (1 - share) / share), replace=False)
        all_scores = np.concatenate([matches, strangers])
        came_true = np.arange(len(all_scores)) < len(matches)
        return reliability(curve.probabilities(all_scores, prior=prior), came_true).ece

    assert error(0.5, 0.5) <= 0.03
    assert error(0.1, 0.1) <= 0.03
    assert error(0.1, 0.5) >= 0.05


def test_a_pair_is_judged_by_both_directions(make_pairs: Callable[..., Pairs]) -> None:
    """Under a hubness correction the two directions differ; the pair's score is their mean, by hand."""
    pairs = make_pairs(count=300, captions=1)
    artefact = fit_artefact(
        "center",
        FitPairs.by_key(
            pairs.images,
            pairs.texts,
            image_keys=pairs.image_keys,
            text_keys=pairs.text_keys,
            image_space=SPACE,
            text_space=SPACE,
        ),
        label=Label(aligner_id="a", created_by="test", seed=0),
        options=FitOptions(hubness=True),
    )
    aligner = load_aligner(artefact)
    image_items = aligner.item_rows(pairs.images, Modality.IMAGE)
    text_items = aligner.item_rows(pairs.texts, Modality.TEXT)
    image_queries = aligner.query_rows(pairs.images, Modality.IMAGE)
    text_queries = aligner.query_rows(pairs.texts, Modality.TEXT)
    calibration = fit_calibration(
        image_items,
        text_items,
        image_keys=pairs.image_keys,
        text_keys=pairs.text_keys,
        image_queries=image_queries,
        text_queries=text_queries,
    )
    found = judge_pairs(PairSides.of(pairs.images, pairs.texts, aligner=aligner), calibration)
    for row in (0, 7, 299):
        forth, back = float(image_queries[row] @ text_items[row]), float(text_queries[row] @ image_items[row])
        assert abs(forth - back) > 1e-4
        by_hand = 0.5 * (
            calibration.merge_scores(forth, query=Modality.IMAGE, item=Modality.TEXT)
            + calibration.merge_scores(back, query=Modality.TEXT, item=Modality.IMAGE)
        )
        assert found.scores[row] == pytest.approx(float(by_hand), rel=1e-5)


def test_decisions_follow_the_thresholds(make_pairs: Callable[..., Pairs]) -> None:
    """A match above, a no-match below, undecided between; a lower rate accepts less, a prior moves no decision."""
    calibrated, judged = halves(make_pairs, count=200)
    calibration = fitted(calibrated)
    images = np.repeat(judged.images, 2, axis=0)
    texts = np.concatenate([judged.texts[:200], judged.texts[:200][::-1]])
    sides = PairSides.of(images, texts, aligner=None)
    loose = judge_pairs(sides, calibration, MatchTerms(false_accept_rate=0.05))
    strict = judge_pairs(sides, calibration, MatchTerms(false_accept_rate=0.01, prior=0.9))
    for found in (loose, strict):
        assert found.refuse_below <= found.accept_above
        for score, decision in zip(found.scores, found.decisions, strict=True):
            wanted = (
                Decision.MATCH
                if score > found.accept_above
                else Decision.NO_MATCH
                if score < found.refuse_below
                else Decision.UNDECIDED
            )
            assert decision is wanted
    assert set(loose.decisions) == set(Decision)
    assert strict.decisions.count(Decision.MATCH) < loose.decisions.count(Decision.MATCH)
    assert (strict.probabilities > loose.probabilities).all()


def test_the_curve_survives_a_round_trip_and_old_artefacts_load(make_pairs: Callable[..., Pairs]) -> None:
    """Equal after JSON; a calibration without a curve is read as before and says what to do when pairs are asked of."""
    calibration = fitted(make_pairs(count=200))
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    document = calibration.to_dict()
    del document["pairs"]
    old = Calibration.from_dict(document)
    assert old == replace(calibration, pairs=None)
    rows = np.eye(3, 24, dtype=np.float32)
    with pytest.raises(NotEnoughItemsError, match="fit an aligner"):
        judge_pairs(PairSides.of(rows, rows, aligner=None), old)


def test_an_estimated_calibration_has_no_curve_for_pairs(make_pairs: Callable[..., Pairs]) -> None:
    """Location and scale of impostors say nothing about how matches score."""
    pairs = make_pairs(count=100, captions=1)
    estimated = estimate_calibration(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)
    with pytest.raises(NotEnoughItemsError, match="calibration"):
        judge_pairs(PairSides.of(pairs.images, pairs.texts, aligner=None), estimated)


def test_terms_out_of_bounds_are_refused(make_pairs: Callable[..., Pairs]) -> None:
    """Rates and priors are shares; a rate that the pairs are too few for says how many it needs."""
    pairs = make_pairs(count=100, captions=1)
    calibration = fitted(pairs)
    sides = PairSides.of(pairs.images, pairs.texts, aligner=None)
    for terms in (MatchTerms(false_accept_rate=0.0), MatchTerms(false_accept_rate=1.0), MatchTerms(prior=1.0)):
        with pytest.raises(OptionError):
            judge_pairs(sides, calibration, terms)
    with pytest.raises(NotEnoughItemsError, match="at least 1000 impostors"):
        judge_pairs(sides, calibration, MatchTerms(false_accept_rate=0.001, impostor=Impostor.BEST))
    # Too few matches for a rate never stops a decision: what no match seen scored is refused.
    assert calibration.pairs is not None
    assert calibration.pairs.refuse_below(0.001) == calibration.pairs.refuse_below(0.01)
    with pytest.raises(ShapeError):
        PairSides.of(pairs.images, pairs.texts[:5], aligner=None)


@pytest.mark.parametrize(
    "change",
    [
        {"slope": 0.0},
        {"slope": float("nan")},
        {"intercept": float("inf")},
        {"accept": {"single": [1.0] * 9}},
        {"accept": {"single": [2.0, 1.0, *[None] * 7], "best": [None] * 9}},
        {"refuse": [1.0, 2.0, *[None] * 7]},
        {"refuse": [1.0]},
        {"slope": "steep"},
    ],
)
def test_a_malformed_curve_is_refused(change: dict[str, object]) -> None:
    """A curve that falls, or thresholds that grow laxer as the rate falls, would accept what it should refuse."""
    sound = {
        "slope": 1.0,
        "intercept": 0.0,
        "accept": {"single": [None] * 9, "best": [None] * 9},
        "refuse": [None] * 9,
    }
    PairCurve.from_dict(sound)
    with pytest.raises(CoreError):
        PairCurve.from_dict(sound | change)
