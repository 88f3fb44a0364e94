"""`--report FILE.html`, of a file of embeddings and of a collection of the mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.core import canonical
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import SmallGateway


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Write 200 pairs with a gap."""
    rng = np.random.default_rng(0)
    meaning, gap = rng.normal(size=(200, 24)), rng.normal(size=24)
    images = canonical(meaning + 0.4 * rng.normal(size=meaning.shape) + gap)
    np.savez(tmp_path / "pairs.npz", image=images, text=canonical(meaning - gap))
    return tmp_path / "pairs.npz"


def test_measure_writes_a_page_beside_its_answer(isthmus: Isthmus, pairs: Path, tmp_path: Path) -> None:
    """Stdout stays the one JSON document; the page names the file and is whole."""
    done = isthmus("measure", "--embeddings", pairs, "--report", "gap.html", "--json")
    assert done.json()["n"] == 200
    assert "wrote gap.html" in done.stderr
    page = (tmp_path / "gap.html").read_text(encoding="utf-8")
    assert "Modality gap of pairs.npz" in page
    assert page.rstrip().endswith("</html>")


def test_compare_writes_a_page_with_the_guard_s_word(isthmus: Isthmus, pairs: Path, tmp_path: Path) -> None:
    """The same verdict in the page as in the JSON document."""
    done = isthmus(
        "align", "compare", "--methods", "center", "--embeddings", pairs, "--report", "methods.html", "--json"
    )
    page = (tmp_path / "methods.html").read_text(encoding="utf-8")
    assert ("may be used</span>" in page) is done.json()["methods"]["center"]["guard"]["ok"]
    assert "After “center”" in page


@pytest.mark.parametrize("command", [["measure"], ["align", "compare"]], ids=["measure", "compare"])
def test_a_page_that_cannot_be_written_stops_the_command_first(
    command: list[str], isthmus: Isthmus, pairs: Path
) -> None:
    """A missing folder is named before minutes of work, not after."""
    done = isthmus(*command, "--embeddings", pairs, "--report", "nowhere/gap.html", "--json")
    assert done.status != 0
    assert "there is no such folder" in done.stderr + done.stdout
    assert done.json()["error"]["reason"] == "UNWRITABLE_FILE"


_ON_A_COLLECTION = pytest.mark.parametrize(
    "command",
    [["measure"], ["align", "compare", "--methods", "center,cca"], ["align", "verify", "--aligner", "heads"]],
    ids=["measure", "compare", "verify"],
)


@_ON_A_COLLECTION
def test_the_page_of_a_collection_comes_from_the_mesh(command: list[str], filled: Isthmus, tmp_path: Path) -> None:
    """It is written as it came; stdout stays the one JSON document."""
    done = filled(*command, "--collection", "pets", "--report", "gap.html", "--json")
    assert done.json()
    assert "wrote gap.html" in done.stderr
    assert (tmp_path / "gap.html").read_text(encoding="utf-8") == "<p>pets</p>"


@_ON_A_COLLECTION
def test_a_page_that_cannot_be_written_is_named_before_the_mesh_works(
    command: list[str], filled: Isthmus, gateway: SmallGateway
) -> None:
    """No call reaches the mesh for a page in a folder that is not there."""
    done = filled(*command, "--collection", "pets", "--report", "nowhere/gap.html", "--json")
    assert done.json()["error"]["reason"] == "UNWRITABLE_FILE"
    assert not {"MeasureGap", "CompareAligners", "VerifyAligner"} & set(gateway.requests)


def test_verify_writes_a_page_of_one_aligner(isthmus: Isthmus, pairs: Path, tmp_path: Path) -> None:
    """Before, after and the guard's word, as in the JSON document; with --all-pairs nothing was learned from them."""
    assert isthmus("align", "fit", "--method", "center", "--embeddings", pairs, "--out", "made").status == 0
    verify = ("align", "verify", "--aligner", "made", "--embeddings", pairs, "--report", "one.html", "--json")
    done = isthmus(*verify)
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert ("may be used</span>" in page) is done.json()["guard"]["ok"]
    assert "After “center”" in page
    assert "pairs that no method learned from" in page
    assert isthmus(*verify, "--all-pairs").status == 0
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "pairs that no method learned from" not in page
    assert "Measured on 200 pairs" in page
