"""`isthmus models pull`, against a hub cache made in the test: no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Isthmus

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that cannot be reached, and a cache that holds one model as `huggingface_hub` lays it out."""
    from huggingface_hub import constants  # noqa: PLC0415 - its cache is this test's

    cache = tmp_path / "hub"
    repository = cache / "models--some--model"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.timeout(120)
def test_a_model_that_is_there_is_told(isthmus: Isthmus, hub: Path) -> None:
    """The folder in the cache and its size; how to use it goes to stderr."""
    found = isthmus("models", "pull", "some/model", "--json").json()
    assert found == {"model": "some/model", "folder": str(hub), "bytes": 9}
    done = isthmus("models", "pull", "some/model")
    assert (done.status, "isthmus up --encoder some/model" in done.stderr) == (0, True)


@pytest.mark.timeout(120)
def test_a_copy_stands_alone(isthmus: Isthmus, hub: Path) -> None:
    """--to makes a folder of real files."""
    assert isthmus("models", "pull", "some/model", "--to", "copy").status == 0
    assert json.loads(Path("copy/config.json").read_text()) == {}
    assert not Path("copy/model.safetensors").is_symlink()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("model", ["nobody/nothing", "../../etc", "https://host/model"])
def test_a_model_that_cannot_be_had_is_one_line(model: str, isthmus: Isthmus, hub: Path) -> None:
    """Unknown, unreachable or malformed: exit status 1 and a reason, no traceback."""
    done = isthmus("models", "pull", model, "--json")
    assert done.status == 1
    assert done.json()["error"]["reason"] == "MODEL_UNAVAILABLE"
    assert done.stderr.count("\n") == 1
