"""The command line against a small gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.cli.main import app
from tests.unit.client.small_gateway import Running, SmallGateway, running


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return the one document on stdout; anything beside it fails."""
        return json.loads(self.stdout)


Isthmus = Callable[..., Outcome]


@pytest.fixture
def gateway() -> SmallGateway:
    """The gateway's state and script."""
    return SmallGateway()


@pytest.fixture
def server(gateway: SmallGateway) -> Iterator[Running]:
    """The gateway, listening."""
    with running(gateway) as listening:
        yield listening


@pytest.fixture
def isthmus(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Isthmus:
    """Run `isthmus …` in an empty folder, with the gateway's address in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_ADDRESS", server.address)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> Outcome:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def filled(isthmus: Isthmus) -> Isthmus:
    """A collection `pets` of three texts and one image."""
    Path("texts.tsv").write_text("cat\tcat\ndog\tdog\nbird\tbird\n")
    Path("cat.jpg").write_bytes(b"cat")
    assert isthmus("index", "texts.tsv", "cat.jpg", "--collection", "pets").status == 0
    return isthmus
