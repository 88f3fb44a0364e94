"""`--report FILE.html` of the offline commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.core import canonical
from tests.unit.cli.conftest import Isthmus


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


@pytest.mark.parametrize("command", [["measure"], ["align", "compare"]], ids=["measure", "compare"])
def test_a_collection_has_no_page_yet(command: list[str], isthmus: Isthmus) -> None:
    """The page needs the vectors, which a mesh does not hand out: the command says where --report belongs."""
    done = isthmus(*command, "--collection", "photos", "--report", "gap.html")
    assert done.status == 2
    assert "--embeddings" in done.stderr
    assert "--report" in done.stderr
