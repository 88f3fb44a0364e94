"""The demo's figures, each against a count made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tools.demo.results import Found, Run, Search, as_json, first_rank, median_rank, own_share, share


def _searches(*ranks: int | None) -> list[Search]:
    answers = (Found(item_id="image/a.png", modality="image", key="a", score=1.0),) * 9
    one = Search(direction="text_to_image", key="a", query="q", found=answers, rank=1, seconds=0.1, encoded=False)
    return [replace(one, rank=rank) for rank in ranks]


def test_first_rank_counts_from_one() -> None:
    """The first answer has rank 1; an answer that is not there has none."""
    found = [Found(item_id=f"image/{key}", modality="image", key=key, score=0.0) for key in "abca"]
    assert first_rank(found, lambda item: item.key == "a") == 1
    assert first_rank(found, lambda item: item.key == "c") == 3
    assert first_rank(found, lambda item: item.key == "z") is None


def test_share_counts_ranks_up_to_top_and_not_the_absent() -> None:
    """Of ranks 1, 3, 4 and none, two are within the first three."""
    assert share(_searches(1, 3, 4, None), top=3) == pytest.approx(2 / 4)


def test_share_of_nothing_is_refused() -> None:
    """A share of no searches has no value; it is an error, not 0."""
    with pytest.raises(ValueError, match="searches: 0 given"):
        share([], top=3)


def test_median_rank_puts_the_absent_after_the_last_answer() -> None:
    """Nine answers without the right one count as rank 10."""
    assert median_rank(_searches(1, 2, None)) == 2
    assert median_rank(_searches(None)) == 10


def test_own_share_looks_at_the_first_ten_only() -> None:
    """Five photographs, then fifteen sentences: half of the first ten are photographs."""
    picture = Found(item_id="image/a", modality="image", key="a", score=1.0)
    sentence = Found(item_id="text/a", modality="text", key="a", score=0.0)
    asked = replace(_searches(1)[0], direction="image_to_any", found=(picture,) * 5 + (sentence,) * 15)
    assert own_share([asked], modality="image") == pytest.approx(0.5)


def test_misses_are_the_late_captions_worst_first(run: Run) -> None:
    """Only caption searches whose photograph is after the third place are misses."""
    assert [(m.key, m.rank) for m in run.misses()] == [("brick", 4), ("camera", 4)]
    assert [m.rank for m in run.misses(top=1)] == [4, 4, 3, 2]


def test_json_holds_fractions_and_the_keys_of_every_report(run: Run) -> None:
    """The document survives a round trip; figures are fractions, under the names that all reports share."""
    document = json.loads(json.dumps(as_json(run)))
    assert document["n"] == {"images": 4, "texts": 12}
    assert document["recall"]["t2i"] == pytest.approx({"r1": 8 / 12, "r3": 10 / 12, "r5": 1.0, "r10": 1.0})
    assert document["recall"]["i2t"]["r1"] == 1.0
    assert set(document["mixed"]["text_query"]) == {"r1", "r10", "r20", "own_share"}
    assert document["misses"][0]["picture"] == "brick"
    assert document["misses"][0]["first"] == "astronaut"
    assert document["left_out"][0]["file"] == "skimage/data/gone.png"
    assert document["timings_s"]["ready"] == 6.5
    assert document["timings_s"]["search_cached"] == pytest.approx({"n": 36, "p50": 0.004, "max": 0.016})
    assert document["timings_s"]["search_encoded"] == {"n": 0}
