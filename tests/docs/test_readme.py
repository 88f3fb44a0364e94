"""The pages tell the truth: their code runs, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.mesh import start_mesh

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/isthmus/**/*.md")]
)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.timeout(120)
def test_the_python_of_the_readme_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A first user who copies the block gets both items back, the sleeping dog first, then the one in the north."""
    (block,) = BLOCK.findall((ROOT / "README.md").read_text())
    with start_mesh(tmp_path / "data") as mesh:
        exec(compile(block.replace("127.0.0.1:7480", mesh.address), "README.md", "exec"), {})  # noqa: S102
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["dog", "sea", "sea"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing
