"""`isthmus match` and `isthmus audit`: tables of any length, bad rows by number, and a file of embeddings."""

from __future__ import annotations

import csv
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.runtime.base import errors as served
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.gateway.matching import AUDITED_COUNT
from tests.unit.client.small_gateway import ALIGNER, SmallGateway


@pytest.fixture
def pets(isthmus: Isthmus) -> Isthmus:
    """Run commands beside a mesh with the collection `pets`."""
    assert isthmus("collections", "create", "pets").status == 0
    return isthmus


def table(name: str, rows: list[list[str]], *, columns: str = "image,text") -> None:
    """Write a CSV file."""
    with Path(name).open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])


def read(name: str) -> list[dict[str, str]]:
    """Read one."""
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_matched_row_by_row(pets: Isthmus, gateway: SmallGateway) -> None:
    """300 rows travel in two messages; bad ones are told by their number, and the others are judged."""
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"a cat")
    rows = [["photos/cat.jpg", "a cat" if number % 3 else "a dog"] for number in range(300)]
    rows[4] = ["photos/gone.jpg", "a cat"]
    rows[7] = ["photos/cat.jpg", ""]
    table("pairs.csv", rows)
    done = pets("match", "pairs.csv", "-c", "pets", "--false-accept-rate", "0.05", "--out", "out.csv")
    assert done.status == 0, done.stderr
    assert re.search(r"match +198\b", done.stdout)
    assert re.search(r"bad rows +2\b", done.stdout)
    assert "a false-accept rate of 0.05 of random impostors" in done.stdout
    assert "row 5: image: No such file or directory (BAD_ROW)" in done.stderr
    assert "row 8: the text is given nowhere: fill one of text, text_id (BAD_ROW)" in done.stderr
    written = read("out.csv")
    assert [int(row["row"]) for row in written] == list(range(1, 301))
    assert (written[0]["decision"], written[1]["decision"], written[4]["decision"]) == ("no_match", "match", "")
    assert written[4]["error"].startswith("BAD_ROW: image")
    assert [len(request.pairs) for request in gateway.requests["MatchPairs"]] == [254, 44]
    found = pets("match", "pairs.csv", "-c", "pets", "--json").json()
    assert (found["n"], found["refused"], found["decisions"]["match"]) == (300, 2, 198)
    assert (found["aligner"], found["calibration"], found["false_accept_rate"]) == (ALIGNER, "fitted", 0.01)
    assert [refusal["row"] for refusal in found["refusals"]] == [5, 8]
    assert len(found["pairs"]) == 298
    assert found["pairs"][1]["probability"] == 0.875
    assert pets("match", "pairs.csv", "-c", "pets", "--json", "--out", "o.csv").json()["pairs"] == []


def test_items_are_named_by_id_and_errors_of_the_mesh_by_row(pets: Isthmus) -> None:
    """Columns image_id and text_id; a row may use either column of a side, and not both."""
    table(
        "pairs.csv",
        [["same", "", "same", ""], ["nobody", "", "x", ""], ["a", "", "b", "c"], ["", "", "", ""]],
        columns="image_id,image,text_id,text",
    )
    found = pets("match", "pairs.csv", "-c", "pets", "--json").json()
    assert [(pair["row"], pair["decision"]) for pair in found["pairs"]] == [(1, "match")]
    assert [(one["row"], one["reason"]) for one in found["refusals"]] == [
        (2, "ITEM_NOT_FOUND"),
        (3, "BAD_ROW"),
        (4, "BAD_ROW"),
    ]
    table("bad.csv", [["", ""]])
    assert pets("match", "bad.csv", "-c", "pets").status == 1


def test_a_table_may_come_through_a_pipe(pets: Isthmus, tmp_path: Path) -> None:
    """What can be read only once is read only once: images lie beside the pipe."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("image_id,text_id\na,a\nb,c\n"), daemon=True)
    writer.start()
    found = pets("match", pipe, "-c", "pets", "--json").json()
    writer.join(timeout=10)
    assert found["decisions"] == {"match": 1, "undecided": 0, "no_match": 1}


def test_a_table_that_cannot_be_read_says_why(pets: Isthmus) -> None:
    """No such file, no column of a side, no UTF-8, no rows; a rate that is no share is a wrong option."""
    table("columns.csv", [["a", "b"]], columns="picture,text")
    table("empty.csv", [])
    Path("latin.csv").write_bytes("image,text\na,é\n".encode("latin-1"))
    for name, words in [
        ("gone.csv", "No such file"),
        ("columns.csv", "no column image or image_id; it has picture, text"),
        ("latin.csv", "is not UTF-8"),
        ("empty.csv", "has no rows"),
    ]:
        done = pets("match", name, "-c", "pets")
        assert (done.status, words in done.stderr) == (1, True), done.stderr
    done = pets("match", "empty.csv", "-c", "pets", "--false-accept-rate", "1.5")
    assert (done.status, "(USAGE)" in done.stderr) == (2, True)


def test_without_a_calibration_the_command_that_helps_is_named(pets: Isthmus, gateway: SmallGateway) -> None:
    """One line on stderr, a hint, exit status 1."""
    table("pairs.csv", [["a", "a"]], columns="image_id,text_id")
    gateway.failures["MatchPairs"].append(served.FailedPreconditionError("none fitted", reason="NOT_CALIBRATED"))
    done = pets("match", "pairs.csv", "-c", "pets")
    assert done.status == 1
    assert "isthmus align fit --collection NAME --method identity" in done.stderr


def test_the_pairs_of_a_collection_are_summed_up_and_listed(pets: Isthmus, gateway: SmallGateway) -> None:
    """Without a table `match` decides about the collection's own pairs; `audit` lists them all the same."""
    done = pets("match", "-c", "pets", "--false-accept-rate", "0.02", "--top", "2")
    assert done.status == 0, done.stderr
    for words in (r"match +1000\b", r"undecided +150\b", r"no match +50\b", r"12\.5 %, about 150", r"i1 +t1 "):
        assert re.search(words, done.stdout), words
    assert "t2" not in done.stdout
    done = pets("audit", "-c", "pets", "--top", "1", "--out", "all.csv")
    assert f"all {AUDITED_COUNT} pairs are in all.csv" in done.stderr
    written = read("all.csv")
    assert len(written) == AUDITED_COUNT
    assert (written[0]["decision"], written[1]["decision"], written[1]["nearest_image_id"]) == ("", "undecided", "i2")
    found = pets("audit", "-c", "pets", "--top", "3", "--seed", "5", "--json").json()
    assert (found["n"], found["wrong_share"], found["decisions"]["no_match"]) == (AUDITED_COUNT, 0.125, 50)
    assert [pair["image_id"] for pair in found["pairs"]] == ["i0", "i1", "i2"]
    first, second, third = gateway.requests["AuditPairs"]
    assert (first.terms.false_accept_rate, first.top_count) == (0.02, 2)
    assert (second.HasField("terms"), second.top_count) == (False, 2_000_000)
    assert (third.seed, third.top_count) == (5, 3)


def test_a_file_of_embeddings_is_audited_without_a_mesh(isthmus: Isthmus) -> None:
    """Two captions that were exchanged come first, named by their rows; nothing but the file is needed."""
    rng = np.random.default_rng(2)
    meaning = rng.normal(size=(80, 16))
    arrays: dict[str, Any] = {
        side: (meaning + 0.4 * rng.normal(size=meaning.shape)).astype(np.float32) for side in ("image", "text")
    }
    arrays["text"][[10, 50]] = arrays["text"][[50, 10]]
    np.savez("pairs.npz", **arrays)
    found = isthmus("audit", "--embeddings", "pairs.npz", "--top", "2", "--json").json()
    assert {pair["text_id"] for pair in found["pairs"]} == {"text-10", "text-50"}
    assert {pair["nearest_image_id"] for pair in found["pairs"]} == {"image-10", "image-50"}
    assert (found["n"], found["decisions"]) == (80, None)
    assert isthmus("audit", "--embeddings", "pairs.npz", "--out", "all.csv").status == 0
    assert len(read("all.csv")) == 80
    for arguments in ((), ("-c", "c", "--embeddings", "a.npz"), ("--embeddings", "a", "--false-accept-rate", ".1")):
        done = isthmus("audit", *arguments)
        assert (done.status, "name either --embeddings or --collection" in done.stderr) == (2, True)
