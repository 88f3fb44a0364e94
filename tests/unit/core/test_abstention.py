"""When to say "no such item", and whether a probability can be trusted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isthmus.core import CoreError, Modality, NotEnoughItemsError, ShapeError
from isthmus.core.calibration import (
    FALSE_ACCEPT_RATES,
    AcceptThresholds,
    Calibration,
    Impostor,
    answer_reliability,
    fit_calibration,
    reliability,
)
from isthmus.core.calibration.thresholds import conformal_thresholds
from isthmus.core.errors import OptionError
from tests.unit.core.conftest import Pairs

MakePairs = Callable[..., Pairs]


def fitted(pairs: Pairs) -> Calibration:
    """Fit a calibration to pairs."""
    return fit_calibration(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)


def thresholds_of(calibration: Calibration) -> AcceptThresholds:
    """Return the thresholds, which a fit always has."""
    assert calibration.thresholds is not None
    return calibration.thresholds


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01])
def test_strangers_are_accepted_no_more_often_than_stated(make_pairs: MakePairs, rate: float) -> None:
    """On held-out pairs of the same kind the share of accepted strangers is the stated one, within sampling error."""
    pairs = make_pairs(count=1_000, captions=1, seed=1)
    keys = pairs.image_keys
    calibration = fit_calibration(pairs.images[:500], pairs.texts[:500], image_keys=keys[:500], text_keys=keys[:500])
    query, item = Modality.TEXT, Modality.IMAGE
    merged = calibration.merge_scores(pairs.texts[500:] @ pairs.images[500:].T, query=query, item=item)
    np.fill_diagonal(merged, -np.inf)
    thresholds = thresholds_of(calibration)
    single = thresholds.threshold(rate, query=query, item=item, impostor=Impostor.SINGLE)
    best = thresholds.threshold(rate, query=query, item=item)
    found = float((merged > single).mean()), float((merged.max(axis=1) > best).mean())
    print(rate, found)
    assert found[0] == pytest.approx(rate, rel=0.2)  # .2003, .0481, .0088 measured
    assert found[1] <= rate + 3 * np.sqrt(rate / 500) + 0.01  # .148, .038, .002 measured


def test_conformal_thresholds_are_order_statistics() -> None:
    """Of 99 impostors the 95th accepts 4 of them at 5 %; rates below 1 in 100 have no threshold."""
    found = dict(zip(FALSE_ACCEPT_RATES, conformal_thresholds(np.arange(99.0)), strict=True))
    assert found[0.05] == 94.0
    assert found[0.01] == 98.0
    assert found[0.005] is None


def test_a_rate_between_two_kept_ones_takes_the_stricter(make_pairs: MakePairs) -> None:
    """Never more false accepts than asked for."""
    thresholds = thresholds_of(fitted(make_pairs(captions=1)))
    found = [thresholds.threshold(rate, query=Modality.IMAGE, item=Modality.TEXT) for rate in (0.1, 0.07, 0.05)]
    assert found[0] < found[1] == found[2]


def test_a_rate_that_the_pairs_cannot_show_is_refused(make_pairs: MakePairs) -> None:
    """200 queries say nothing about 1 in 500; the message says how many would."""
    thresholds = thresholds_of(fitted(make_pairs(captions=1)))
    with pytest.raises(NotEnoughItemsError, match=r"0\.002 needs at least 500 impostors"):
        thresholds.threshold(0.002, query=Modality.IMAGE, item=Modality.TEXT)
    with pytest.raises(OptionError, match="above 0 and below 1"):
        thresholds.threshold(0.0, query=Modality.IMAGE, item=Modality.TEXT)


def test_thresholds_survive_the_manifest(make_pairs: MakePairs) -> None:
    """What was fitted is what is read back, equal."""
    calibration = fitted(make_pairs())
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    bare = Calibration.default()
    assert Calibration.from_dict(bare.to_dict()) == bare


@pytest.mark.parametrize(
    "broken",
    [
        {"best_image_text": [1.0]},
        {"best_image_text": [9.0 - number for number in range(9)]},
        {"best_image_text": ["high"] * 9},
        {"worst_image_text": [None] * 9},
        {"best_image": [None] * 9},
        {"best_image_text": None},
    ],
)
def test_malformed_thresholds_are_refused(broken: dict[str, object]) -> None:
    """Too few, falling, not numbers, of an unknown kind: each a typed error."""
    with pytest.raises(CoreError, match="calibration: "):
        AcceptThresholds.from_dict(broken)


def test_expected_calibration_error_is_the_mean_distance() -> None:
    """Two bins by hand: |.2 - 0| and |.8 - .5| weigh by their counts."""
    found = reliability(np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, False, True, False]), bin_count=2)
    assert found.ece == pytest.approx(0.25)
    assert found.to_dict()["share"] == [0.0, 0.5]


def test_true_probabilities_have_no_error() -> None:
    """Outcomes drawn with the stated probabilities: an error of sampling alone."""
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    assert reliability(probabilities, rng.random(20_000) < probabilities).ece < 0.02  # .008 measured
    assert reliability(probabilities, rng.random(20_000) < probabilities**3).ece > 0.15


def test_nothing_to_judge_is_refused() -> None:
    """No cases, and one outcome too few."""
    with pytest.raises(NotEnoughItemsError):
        reliability(np.empty(0), np.empty(0, bool))
    with pytest.raises(ShapeError):
        reliability(np.ones(2), np.ones(3, bool))


def test_best_answers_are_judged_on_fresh_pairs(make_pairs: MakePairs) -> None:
    """On held-out pairs the probability of the ten best answers is right within .05; a default calibration has none."""
    pairs = make_pairs(count=600, captions=1, noise=1.0, seed=3)
    keys = pairs.image_keys
    calibration = fit_calibration(pairs.images[:300], pairs.texts[:300], image_keys=keys[:300], text_keys=keys[:300])
    vectors = {Modality.IMAGE: pairs.images[300:], Modality.TEXT: pairs.texts[300:]}
    judged = answer_reliability(
        calibration, queries=vectors, items=vectors, image_keys=keys[300:], text_keys=keys[300:]
    )
    for found in judged.values():
        print(found.ece)
        assert found.ece < 0.05  # .021 and .017 measured
    with pytest.raises(NotEnoughItemsError, match="was not fitted"):
        answer_reliability(
            Calibration.default(), queries=vectors, items=vectors, image_keys=keys[300:], text_keys=keys[300:]
        )
