"""Calibrated merge: never a change inside a modality, sensible lists across them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from isthmus.core import CoreError, Modality, NotEnoughItemsError, ShapeError, canonical
from isthmus.core.calibration import (
    FIT_LIMIT,
    SAMPLE_LIMIT,
    SAMPLE_MINIMUM,
    Calibration,
    CalibrationSource,
    ScoreCurve,
    calibration_sample,
    estimate_calibration,
    fit_calibration,
)
from isthmus.core.keys import key_codes
from isthmus.core.metrics import mixed_retrieval
from tests.unit.core.conftest import Pairs

PAIRS = list(itertools.product(Modality, repeat=2))


def estimated(pairs: Pairs) -> Calibration:
    """Estimate from up to 1,000 vectors a modality."""
    count = SAMPLE_LIMIT
    return estimate_calibration(
        pairs.images[:count],
        pairs.texts[:count],
        image_keys=pairs.image_keys[:count],
        text_keys=pairs.text_keys[:count],
    )


def fitted(pairs: Pairs) -> Calibration:
    """Fit on all pairs."""
    return fit_calibration(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)


def part(pairs: Pairs, start: int, stop: int) -> Pairs:
    """Return some of the pairs; one caption a photo."""
    rows = slice(start, stop)
    return Pairs(pairs.images[rows], pairs.texts[rows], pairs.image_keys[rows], pairs.text_keys[rows])


def test_location_and_scale_are_those_of_the_best_impostor(make_pairs: Callable[..., Pairs]) -> None:
    """Second route: loops over queries and items, one modality pair at a time."""
    pairs = make_pairs(count=90, captions=1)
    calibration = estimated(pairs)
    for query, item in PAIRS:
        best = []
        for i, q in enumerate(pairs.vectors[query]):
            # one caption a photo: rows of both modalities carry the same key exactly when their numbers agree
            scores = [float(q @ g) for j, g in enumerate(pairs.vectors[item]) if i != j]
            best.append(max(scores))
        curve = calibration.curves[query, item]
        assert curve.location == pytest.approx(np.mean(best), abs=1e-6)
        assert curve.scale == pytest.approx(np.std(best), abs=1e-6)
        assert (curve.slope, curve.intercept) == (1.0, 0.0)
    assert calibration.source is CalibrationSource.ESTIMATED


def test_items_of_one_pair_key_are_no_impostors(make_pairs: Callable[..., Pairs]) -> None:
    """Sibling captions score high; counted as impostors they would push every caption down."""
    pairs = make_pairs(count=150, captions=2)
    keyed = estimated(pairs)
    unkeyed = estimate_calibration(
        pairs.images, pairs.texts, image_keys=[None] * len(pairs.images), text_keys=[""] * len(pairs.texts)
    )
    text_text = (Modality.TEXT, Modality.TEXT)
    assert keyed.curves[text_text].location < unkeyed.curves[text_text].location - 0.05


@pytest.mark.parametrize(("images", "texts"), [(SAMPLE_MINIMUM - 1, 200), (200, SAMPLE_MINIMUM - 1), (0, 0)])
def test_too_few_vectors_give_the_default_and_say_so(images: int, texts: int, rng: np.random.Generator) -> None:
    """Below 64 of either modality nothing is estimated: scores merge as they are."""
    calibration = estimate_calibration(
        canonical(rng.normal(size=(images, 8))),
        canonical(rng.normal(size=(texts, 8))),
        image_keys=[None] * images,
        text_keys=[None] * texts,
    )
    assert calibration.source is CalibrationSource.DEFAULT
    assert calibration.merge_scores([0.25, -1.0], query=Modality.TEXT, item=Modality.IMAGE).tolist() == [0.25, -1.0]


def test_sixty_four_vectors_a_modality_are_enough(make_pairs: Callable[..., Pairs]) -> None:
    """The stated minimum is estimated from."""
    assert estimated(make_pairs(count=SAMPLE_MINIMUM, captions=1)).source is CalibrationSource.ESTIMATED


def test_vectors_that_are_all_matches_give_the_default() -> None:
    """Where no query has an impostor there is nothing to estimate."""
    x = canonical(np.ones((80, 4)))
    calibration = estimate_calibration(x, x, image_keys=["one"] * 80, text_keys=["one"] * 80)
    assert calibration.source is CalibrationSource.DEFAULT


def test_equal_vectors_do_not_divide_by_zero() -> None:
    """A modality whose vectors are all the same has no spread; its scale has a floor."""
    x = canonical(np.ones((80, 4)))
    calibration = estimate_calibration(x, x, image_keys=[None] * 80, text_keys=[None] * 80)
    assert min(curve.scale for curve in calibration.curves.values()) >= 1e-4


def test_a_sample_over_its_limit_is_refused() -> None:
    """Callers choose 1,000 first: a whole collection would be a score matrix of any size."""
    x = np.zeros((SAMPLE_LIMIT + 1, 2), np.float32)
    with pytest.raises(ShapeError, match="at most 1000"):
        estimate_calibration(x, x[:5], image_keys=[None] * len(x), text_keys=[None] * 5)
    with pytest.raises(ShapeError, match="one for each"):
        estimate_calibration(x[:5], x[:5], image_keys=[None] * 4, text_keys=[None] * 5)


def test_the_sample_depends_on_ids_and_seed_but_not_on_order() -> None:
    """A searcher that loads its items in another order looks at the same ones."""
    ids = [f"item-{number}" for number in range(3_000)]
    shuffled = list(np.random.default_rng(1).permutation(ids))
    chosen = [ids[row] for row in calibration_sample(ids, seed=3)]
    assert chosen == [shuffled[row] for row in calibration_sample(shuffled, seed=3)]
    assert len(set(chosen)) == SAMPLE_LIMIT
    assert set(chosen) != {ids[row] for row in calibration_sample(ids, seed=4)}
    assert len(calibration_sample(ids[:10], seed=0)) == 10


def test_a_fit_has_a_probability_for_every_modality_pair(make_pairs: Callable[..., Pairs]) -> None:
    """Probabilities rise with the score, stay inside (0, 1) and are the logistic of the merge score."""
    calibration = fitted(make_pairs())
    scores = np.linspace(-1, 1, 401, dtype=np.float32)
    for query, item in PAIRS:
        probability = calibration.probabilities(scores, query=query, item=item)
        assert probability is not None
        assert (np.diff(probability) > 0).all()
        assert 0 < probability[0] < probability[-1] < 1
        merged = calibration.merge_scores(scores, query=query, item=item)
        assert np.allclose(probability, 1 / (1 + np.exp(-merged)))


def test_only_a_fit_speaks_of_probability(make_pairs: Callable[..., Pairs]) -> None:
    """An estimate knows no matches, so it claims none."""
    for calibration in (estimated(make_pairs()), Calibration.default()):
        assert calibration.probabilities([0.5], query=Modality.TEXT, item=Modality.IMAGE) is None


def test_the_curve_maximises_the_likelihood(make_pairs: Callable[..., Pairs]) -> None:
    """Second route: SciPy minimises the same penalised log-loss over the same candidates."""
    pairs = make_pairs(count=120, captions=1)
    calibration = fitted(pairs)
    curve = calibration.curves[Modality.TEXT, Modality.IMAGE]
    scores = (pairs.texts @ pairs.images.T).astype(np.float64)
    z = ((scores - curve.location) / curve.scale).ravel()
    z[z > 0] = 0.5 * np.log1p(z[z > 0] / 0.5)  # the tail, from the best impostor on
    matches = np.eye(120, dtype=bool).ravel()

    def loss(line: NDArray[np.float64]) -> float:
        logits = line[0] * z + line[1]
        return float(np.logaddexp(0, np.where(matches, -logits, logits)).sum() + 0.5 * line[0] ** 2)

    best = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    assert (curve.slope, curve.intercept) == pytest.approx(tuple(best), abs=2e-3)


def test_the_probabilities_of_a_fit_are_right_on_average(make_pairs: Callable[..., Pairs]) -> None:
    """On pairs it has not seen, of candidates told a probability about as many match; ten bins of equal size."""
    pairs = make_pairs(count=400, captions=1)
    calibration, fresh = fitted(part(pairs, 0, 200)), part(pairs, 200, 400)
    scores = fresh.texts @ fresh.images.T
    matches = np.eye(200, dtype=bool)
    probability = calibration.probabilities(scores, query=Modality.TEXT, item=Modality.IMAGE)
    assert probability is not None
    order = np.argsort(probability.ravel())
    bins = zip(np.array_split(probability.ravel()[order], 10), np.array_split(matches.ravel()[order], 10), strict=True)
    error = np.mean([abs(told.mean() - seen.mean()) for told, seen in bins])
    assert error < 2e-3  # 7e-4 measured, where 5e-3 of all pairs match


def test_a_modality_pair_without_matches_borrows_the_curve_across(make_pairs: Callable[..., Pairs]) -> None:
    """Photos taken once have no match among photos: they are judged by the curve of photo and caption."""
    curves = fitted(make_pairs()).curves
    borrowed, lender = curves[Modality.IMAGE, Modality.IMAGE], curves[Modality.IMAGE, Modality.TEXT]
    assert (borrowed.slope, borrowed.intercept) == (lender.slope, lender.intercept)
    own = curves[Modality.TEXT, Modality.TEXT]
    assert (own.slope, own.intercept) != (curves[Modality.TEXT, Modality.IMAGE].slope, own.intercept)


def test_a_useless_space_still_gives_rising_curves(rng: np.random.Generator) -> None:
    """Where matches score no higher than impostors the slope stays above zero, so rankings stay as they are."""
    x, y = canonical(rng.normal(size=(200, 16))), canonical(rng.normal(size=(200, 16)))
    keys = [str(number) for number in range(200)]
    calibration = fit_calibration(x, y, image_keys=keys, text_keys=keys)
    assert min(curve.slope for curve in calibration.curves.values()) > 0


def test_a_fit_needs_enough_vectors_and_matches(make_pairs: Callable[..., Pairs]) -> None:
    """Too few vectors, no matches and no impostors are each refused; too many vectors as well."""
    pairs = make_pairs(count=100, captions=1)
    none = [None] * 100
    with pytest.raises(NotEnoughItemsError, match="at least 64"):
        fit_calibration(pairs.images[:9], pairs.texts, image_keys=pairs.image_keys[:9], text_keys=pairs.text_keys)
    with pytest.raises(NotEnoughItemsError, match="0 matches"):
        fit_calibration(pairs.images, pairs.texts, image_keys=none, text_keys=none)
    with pytest.raises(NotEnoughItemsError, match="impostor"):
        fit_calibration(pairs.images, pairs.texts, image_keys=["one"] * 100, text_keys=["one"] * 100)
    with pytest.raises(ShapeError):
        fit_calibration(pairs.images, pairs.texts, image_keys=none[:9], text_keys=none)
    many = np.zeros((FIT_LIMIT + 1, 2), np.float32)
    with pytest.raises(ShapeError, match="at most 8192"):
        fit_calibration(many, many, image_keys=[None] * len(many), text_keys=[None] * len(many))


def test_neither_modality_floods_the_other_across_a_gap(make_pairs: Callable[..., Pairs]) -> None:
    """With a gap the raw merge shows own-modality items only; the calibrated merges show both, and rank better."""
    pairs = make_pairs(count=300, captions=1, noise=0.5, gap=1.5)
    image_codes, text_codes = key_codes(pairs.image_keys, pairs.text_keys)
    codes = {Modality.IMAGE: image_codes, Modality.TEXT: text_codes}

    def judge(calibration: Calibration, query: Modality) -> tuple[float, float, float]:
        found = mixed_retrieval(
            np.arange(300), query=query, vectors=pairs.vectors, codes=codes, calibration=calibration
        )
        return found.own_share, found.ndcg10, found.r1

    for query in Modality:
        plain = judge(Calibration.default(), query)
        assert plain[0] == pytest.approx(1.0)
        assert plain[2] == 0.0
        for calibration in (estimated(pairs), fitted(pairs)):
            own_share, ndcg10, r1 = judge(calibration, query)
            assert 0.2 < own_share < 0.8  # 0.54 to 0.55 measured
            assert ndcg10 > plain[1] + 0.3  # from 0.0 to 0.37 and 0.41 measured
            assert r1 > 0.1  # 0.20 to 0.25 measured


def test_json_values_bring_back_an_equal_calibration(make_pairs: Callable[..., Pairs]) -> None:
    """`from_dict` reads what `to_dict` wrote, to the last bit."""
    for calibration in (fitted(make_pairs()), estimated(make_pairs()), Calibration.default()):
        assert Calibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"source": "guessed"},
        {"curves": {}},
        {"curves": None},
        {"curves": {f"{q}_{i}": {"location": 0.0} for q, i in PAIRS}},
        {"curves": {f"{q}_{i}": {"location": 0.0, "scale": 1.0, "extra": 1.0} for q, i in PAIRS}},
        {"curves": {f"{q}_{i}": {"location": 0.0, "scale": "wide"} for q, i in PAIRS}},
    ],
)
def test_malformed_json_values_are_refused(change: dict[str, object]) -> None:
    """A damaged calibration is an error of ours, not a KeyError."""
    with pytest.raises(CoreError, match="malformed"):
        Calibration.from_dict(Calibration.default().to_dict() | change)


@pytest.mark.parametrize(
    "numbers",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"slope": 0.0},
        {"slope": -2.0},
        {"location": float("nan")},
        {"intercept": float("inf")},
        {"slope": 1e9},
        {"scale": 1e9},
        {"intercept": 1e9},
    ],
)
def test_a_line_that_does_not_rise_is_refused(numbers: dict[str, float]) -> None:
    """A flat, a falling and an extreme line would each break the one guarantee of the merge."""
    with pytest.raises(CoreError):
        ScoreCurve(**({"location": 0.0, "scale": 1.0} | numbers))


def test_a_calibration_without_all_four_curves_is_refused() -> None:
    """There is no search for which a curve may be missing."""
    with pytest.raises(CoreError, match="needs 4 curves, got 0"):
        Calibration(source=CalibrationSource.DEFAULT, curves={})
