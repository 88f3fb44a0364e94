"""The choice between encoders."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.core.errors import NotEnoughItemsError, SpacesMismatchError
from isthmus.core.gap import GapReport, choose_encoder, measure_gap


def encoded(noise: float, *, gap: float = 0.3, seed: int = 0, count: int = 150, keys: str = "") -> GapReport:
    """Return the report of an encoder: the same things, seen with its own noise and its own gap."""
    meaning = np.random.default_rng(1).normal(size=(count, 16))
    rng = np.random.default_rng(seed)
    images = meaning + noise * rng.normal(size=meaning.shape) + gap
    texts = meaning + noise * rng.normal(size=meaning.shape) - gap
    names = [f"{keys}{number}" for number in range(count)]
    return measure_gap(images, texts, image_keys=names, text_keys=names, sample_limit=50)


def test_the_encoder_that_finds_clearly_more_is_chosen_whatever_its_gap() -> None:
    """A gap can be mended afterwards, an order cannot."""
    choice = choose_encoder({"blurred": encoded(1.3, gap=0.0), "sharp": encoded(0.7, gap=1.0)}, seed=0)
    assert (choice.chosen, choice.level) == ("sharp", ("sharp",))
    assert list(choice.mean_recall) == ["sharp", "blurred"]
    (other,) = choice.ahead_of
    assert other.paired
    assert 0.0 < other.recall.low < other.recall.value
    assert other.recall.value == pytest.approx(choice.mean_recall["sharp"] - choice.mean_recall["blurred"])
    assert "clearly more" in choice.reason


def test_level_encoders_are_told_apart_by_their_gap() -> None:
    """Recall .568 against .567, far inside the interval: the smaller relative gap decides against the higher one."""
    choice = choose_encoder({"wide": encoded(0.9, gap=0.45), "narrow": encoded(1.0, gap=0.0, seed=7)}, seed=0)
    assert choice.level == ("wide", "narrow")
    assert choice.chosen == "narrow"
    assert "smallest relative gap" in choice.reason


def test_the_recall_compared_is_the_mean_of_the_six() -> None:
    """Second route: the six recalls of the report, one caption a photo."""
    reports = {"one": encoded(1.0), "two": encoded(1.2)}
    choice = choose_encoder(reports, seed=0)
    for name, report in reports.items():
        assert report.retrieval is not None
        assert choice.mean_recall[name] == pytest.approx(report.retrieval.rsum.value / 600)


def test_pairing_narrows_the_interval_and_other_keys_lose_it() -> None:
    """On equal keys luck cancels out; on other keys the comparison says that it did not."""
    paired = choose_encoder({"a": encoded(0.9), "b": encoded(1.0)}, seed=0).ahead_of[0]
    apart = choose_encoder({"a": encoded(0.9), "b": encoded(1.0, keys="other-")}, seed=0).ahead_of[0]
    assert (paired.paired, apart.paired) == (True, False)
    assert paired.recall.value == apart.recall.value
    assert paired.recall.high - paired.recall.low < apart.recall.high - apart.recall.low


def test_one_encoder_or_two_spaces_are_no_choice() -> None:
    """Both refusals say what helps."""
    with pytest.raises(NotEnoughItemsError, match="1 to compare, at least 2"):
        choose_encoder({"a": encoded(1.0)}, seed=0)
    rng = np.random.default_rng(0)
    two = measure_gap(rng.normal(size=(20, 4)), rng.normal(size=(20, 5)))
    with pytest.raises(SpacesMismatchError, match="fit an aligner and compare its vectors"):
        choose_encoder({"a": encoded(1.0), "b": two}, seed=0)
