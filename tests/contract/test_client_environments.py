"""The built wheel, without extras, in two clean environments: the lowest supported dependencies and the highest.

The environments are made once, beside the generator's, and kept as long as the dependencies in pyproject.toml stay as
they are; making them fetches packages from the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.small_gateway import SmallGateway, running

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("client_script.py")
DEPENDENCIES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
EXTREMES = ("low", "high")

pytestmark = pytest.mark.timeout(600)


def _floors() -> dict[str, str]:
    """Return the lowest version of each dependency that pyproject.toml allows."""
    floors = {}
    for dependency in DEPENDENCIES:
        found = re.fullmatch(r"([a-z-]+)>=([\d.]+)(,<\d+)?", dependency)
        assert found is not None, dependency
        floors[found[1]] = found[2]
    return floors


def _wanted(extreme: str) -> list[str]:
    """Return what pip installs: each dependency at its floor, or as high as it goes."""
    return [f"{name}=={floor}" for name, floor in _floors().items()] if extreme == "low" else DEPENDENCIES


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", "--quiet", *arguments], check=True)


def _run(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a clean environment; nothing of this tree may leak into it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ISTHMUS_"))}
    return subprocess.run([str(command), *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=env)


@pytest.fixture(scope="module", params=EXTREMES)
def environment(request: pytest.FixtureRequest, wheel: Path) -> tuple[str, Path]:
    """(low or high, the folder of its commands): a clean environment with the wheel installed."""
    extreme: str = request.param
    folder = ROOT / f".venv-client-{extreme}"
    commands = folder / "bin"
    stamp = folder / "dependencies.sha256"
    digest = hashlib.sha256("\n".join([*_wanted(extreme), sys.version]).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        venv.create(folder, clear=True, with_pip=True)
        _pip(commands / "python", "install", *_wanted(extreme))
        stamp.write_text(digest)
    _pip(commands / "python", "install", "--no-deps", "--force-reinstall", str(wheel))
    return extreme, commands


@pytest.fixture
def address() -> Iterator[str]:
    """A small gateway in this process."""
    with running(SmallGateway()) as server:
        yield server.address


def test_dependencies_have_floors_that_go_together(environment: tuple[str, Path]) -> None:
    """Installed side by side, at their floors or at their highest, no package misses what it needs."""
    _, commands = environment
    done = _run(commands / "python", "-m", "pip", "check", cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_a_program_embeds_and_searches(environment: tuple[str, Path], address: str, tmp_path: Path) -> None:
    """The client works over the wire with nothing but its dependencies; neither Pillow nor torch is there."""
    extreme, commands = environment
    done = _run(commands / "python", "-W", "error", str(SCRIPT), address, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    versions = report.pop("versions")
    assert report.pop("norm") == pytest.approx(1, abs=1e-3)
    assert report == {
        "shape": [1, 8],
        "errors": ["EMPTY_TEXT"],
        "created": 600,
        "first": "i7",
        "attributes": {"n": 7},
        "refusal": "COLLECTION_NOT_FOUND",
        "async_first": "late",
        "installed": [],
        "loaded": [],
    }
    if extreme == "low":
        assert all(versions[name].startswith(_floors()[name]) for name in versions)
    else:
        assert int(versions["protobuf"].split(".")[0]) == 7


def test_the_command_line_searches(environment: tuple[str, Path], address: str, tmp_path: Path) -> None:
    """So does the command, which needs no extra for it."""
    _, commands = environment

    def isthmus(*arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(commands / "isthmus", *arguments, "--address", address, "--json", cwd=tmp_path)

    (tmp_path / "texts.tsv").write_text("a\tone text\nb\tanother text\n")
    done = isthmus("index", "texts.tsv", "--collection", "notes")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["created"] == 2
    done = isthmus("search", "--collection", "notes", "--text", "another text")
    assert json.loads(done.stdout)["neighbors"][0]["id"] == "b"


@pytest.mark.parametrize(
    "command",
    [
        ["up"],
        ["index", "table.parquet", "-c", "c"],
        ["models", "pull", "some/model"],
        ["train", "aligner", "table.parquet", "--out", "heads"],
    ],
    ids=" ".join,
)
def test_what_needs_an_extra_says_which(environment: tuple[str, Path], command: list[str], tmp_path: Path) -> None:
    """Without the extra a command ends with 1 and one line that says what to install; its help needs nothing."""
    _, commands = environment
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    done = _run(commands / "isthmus", *command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'hint: pip install "isthmus[serve]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert _run(commands / "isthmus", *command, "--help", cwd=tmp_path).returncode == 0
