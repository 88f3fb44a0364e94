"""`isthmus train aligner`, with the embedded encoders on pictures made in the test."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.harness.pictures import jpeg
from tests.unit.cli.conftest import Isthmus


def _pairs(count: int) -> None:
    rows = [
        {"image": {"bytes": jpeg(n), "path": f"{n}.jpg"}, "captions": [f"blocks of many colours, number {n}"]}
        for n in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), "pairs.parquet")


@pytest.mark.timeout(300)
def test_a_trained_aligner_can_be_imported(isthmus: Isthmus) -> None:
    """The artefact is written with its report, told as JSON, kept from being overwritten, and taken by a mesh."""
    _pairs(300)
    arguments = ["train", "aligner", "pairs.parquet", "--out", "heads", "--name", "mine", "--held-out", 0.5]
    done = isthmus(*arguments, "--epochs", 1, "--hidden", 0, "--batch", 64, "--dimension", 16, "--json")
    assert done.status == 0, done.stderr
    found = done.json()
    assert found["aligner"].startswith("mine@")
    assert found["manifest"] == json.loads(Path("heads/manifest.json").read_text())
    assert (found["manifest"]["method"], found["manifest"]["dimension"]) == ("heads", 16)
    assert found["manifest"]["report"]["recall"]["t2i"]["r10"] >= 0
    again = isthmus(*arguments)
    assert (again.status, "heads is there already" in again.stderr) == (2, True)
    assert isthmus("aligners", "import", "heads").status == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["missing.parquet"], 1, "missing.parquet"),
        (["pairs.parquet", "--held-out", "0"], 2, "held_out_share"),
        (["pairs.parquet", "--learning-rate", "-1"], 2, "learning_rate"),
        (["pairs.parquet", "--image-encoder", "nobody/nothing"], 1, "isthmus models pull nobody/nothing"),
    ],
)
def test_what_cannot_be_trained_is_one_line(arguments: list[str], status: int, message: str, isthmus: Isthmus) -> None:
    """Data that is not there, numbers out of their bounds, an encoder that is not there; no folder is left behind."""
    _pairs(3)
    done = isthmus("train", "aligner", *arguments, "--out", "heads")
    assert (done.status, done.stdout) == (status, "")
    assert message in done.stderr
    assert not Path("heads").exists()
