"""`isthmus align verify --slice-… --queries … --gains …` on a file of embeddings: no mesh is running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.core import canonical
from isthmus.core.aligners import Label
from isthmus.core.recipe import RawPairs, fit_calibrated
from tests.unit.cli.conftest import Isthmus

COUNT = 600
SPACE = "unnamed@00000000"
Verify = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 pairs with a gap, a season a photo, and captions of 4 to 12 words; and an aligner that was fitted to them."""
    made = tmp_path_factory.mktemp("details")
    rng = np.random.default_rng(0)
    meaning, gap = rng.normal(size=(COUNT, 24)), rng.normal(size=24)
    images = canonical(meaning + 0.9 * rng.normal(size=meaning.shape) + gap)
    texts = canonical(meaning + 0.9 * rng.normal(size=meaning.shape) - gap)
    np.savez(
        made / "pairs.npz",
        image=images,
        text=texts,
        season=np.where(np.arange(COUNT) % 40 == 0, "winter", "summer"),
        text_id=np.array([f"caption {row}" for row in range(COUNT)]),
        text_words=np.arange(COUNT) % 9 + 4,
        image_price=np.arange(COUNT),
    )
    keys = [str(row) for row in range(COUNT)]
    pairs = RawPairs(images=images, texts=texts, image_keys=keys, text_keys=keys, image_space=SPACE, text_space=SPACE)
    learned, _ = pairs.split()
    fit_calibrated("center", learned, label=Label(aligner_id="center", created_by="a test")).save(made / "center")
    return made


@pytest.fixture
def verify(isthmus: Isthmus, folder: Path) -> Verify:
    """Judge with further options."""
    return lambda *more: isthmus(
        "align", "verify", "--aligner", folder / "center", "--embeddings", folder / "pairs.npz", *more
    )


def test_slices_by_an_attribute_and_by_length(verify: Verify) -> None:
    """Values of an array a row of image hold for its caption too; nothing is asked for, nothing is there."""
    found = verify("--slice-attribute", "season", "--slice-caption-length", "--json").json()["slices"]
    assert [(one["kind"], one["value"]) for one in found["slices"]] == [
        ("all", ""),
        ("attribute", "summer"),
        ("attribute", "winter"),
        ("caption_length", "1-5"),
        ("caption_length", "6-8"),
        ("caption_length", "9-12"),
    ]
    whole, summer, winter, *bands = found["slices"]
    assert summer["n"] + winter["n"] == sum(band["n"] for band in bands) == whole["n"]
    assert summer["queries"] == {"image": summer["n"], "text": summer["n"]}
    assert (winter["too_few"], winter["n"] < 16) == (True, True)  # 1 pair of winter is held out
    assert summer["difference"]["mixed.text_query.ndcg10"]["change"] == "rises"  # +0.29 [0.23, 0.35]
    assert found["without_value"] == {"attribute": 0, "caption_length": 0}
    plain = verify("--json").json()
    assert not {"slices", "gain"} & plain.keys()
    shown = verify("--slice-attribute", "season")
    assert "winter" in shown.stdout
    assert "too few to tell" in shown.stdout


def test_a_list_of_queries_and_what_became_of_it(verify: Verify, tmp_path: Path) -> None:
    """Ids are those of `text_id`, and numbered where there are none; empty lines are none."""
    (tmp_path / "queries.txt").write_text("\n".join(["", *(f"caption {row}" for row in range(40)), "image-3", "gone"]))
    found = verify("--queries", "queries.txt", "--json").json()["slices"]
    listed = found["query_list"]
    assert (listed["given"], listed["unknown"]) == (42, [42])
    assert listed["judged"] + len(listed["learned"]) == 41
    assert found["slices"][-1]["kind"] == "queries"
    shown = verify("--queries", "queries.txt")
    assert "no paired item has: ids 42 of the list" in shown.stderr


def test_a_table_of_gains(verify: Verify, tmp_path: Path) -> None:
    """Gain and cost mirror one another; a row that counts for nothing is told by its number."""
    rows = [f"caption {row},image-{row},{1 + row % 2}" for row in range(COUNT)]
    (tmp_path / "gains.csv").write_text("query_id,item_id,gain\n" + "\n".join([*rows, "gone,image-1,5"]))
    (tmp_path / "costs.csv").write_text("query_id,item_id,cost\n" + "\n".join(rows))
    (tmp_path / "plain.csv").write_text("\n".join(rows))
    found = verify("--gains", "gains.csv", "--top-k", "5", "--gains-modality", "image", "--json").json()["gain"]
    assert (found["top_k"], found["item_modality"]) == (5, "image")
    assert found["skipped"]["unknown_query"] == [COUNT + 1]
    assert found["rows"] + sum(map(len, found["skipped"].values())) == COUNT + 1
    gain = verify("--gains", "gains.csv", "--json").json()["gain"]["per_1000"]
    assert gain["difference"]["change"] == "rises"  # by 619 [468, 754]: 421 to 1,040 of 1,548 possible
    assert gain["difference"]["value"] == pytest.approx(gain["after"]["value"] - gain["before"]["value"])
    cost = verify("--gains", "costs.csv", "--json").json()["gain"]["per_1000"]
    assert cost["after"]["value"] == pytest.approx(-gain["after"]["value"])
    assert (cost["difference"]["change"], cost["possible"]) == ("falls", 0.0)
    assert verify("--gains", "plain.csv", "--json").json()["gain"]["per_1000"] == gain
    shown = verify("--gains", "gains.csv")
    assert "Expected gain, the first 10 of images and texts shown" in shown.stdout
    assert f"unknown query: {COUNT + 1}" in shown.stderr


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("query_id,item_id,gain\nq,i,1\nq,i\n", "INVALID_DATA", "row 2 has 2 columns; it must have 3"),
        ("q,i,1\nq,i,much\n", "INVALID_DATA", "row 2 has no finite number as its gain"),
        ("q,i,1\n\nq,i,nan\n", "INVALID_DATA", "row 2 has no finite number as its gain"),
        ("q,i,inf\n", "INVALID_DATA", "row 1 has no finite number as its gain"),
        ("q,,1\n", "INVALID_DATA", "row 1 lacks a query id or an item id"),
        ("query_id,item_id,profit\nq,i,1\n", "INVALID_DATA", "the header must be query_id,item_id,gain"),
        ('q,i,1\n"q,i,1\n', "INVALID_DATA", "row 2 is not CSV"),
        ("\n", "EMPTY_INPUT", "holds no row"),
        ("no,nobody,1\n", "NOT_ENOUGH_PAIRS", "none of 1 rows can be judged (1 unknown query)"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_row(
    verify: Verify, tmp_path: Path, text: str, reason: str, said: str
) -> None:
    """Rows are counted without the header and without empty lines."""
    (tmp_path / "gains.csv").write_text(text)
    done = verify("--gains", "gains.csv", "--json")
    assert done.status == 1
    error = done.json()["error"]
    assert error["reason"] == reason
    assert said in error["message"]


def test_what_the_file_does_not_hold_is_refused(verify: Verify, tmp_path: Path) -> None:
    """An attribute that no array is named after; one with too many values; files that are not there or empty."""
    (tmp_path / "empty.txt").write_text("\n \n")
    for options, reason, said in [
        (("--slice-attribute", "colour"), "INVALID_DATA", "has no array image_colour, text_colour or colour"),
        (("--slice-attribute", "price"), "INVALID_OPTION", "the limit is 32: choose a coarser attribute"),
        (("--queries", "gone.txt"), "UNREADABLE_FILE", "gone.txt"),
        (("--queries", "empty.txt"), "EMPTY_INPUT", "empty.txt holds no id"),
    ]:
        error = verify(*options, "--json").json()["error"]
        assert (error["reason"], said in error["message"]) == (reason, True), error
