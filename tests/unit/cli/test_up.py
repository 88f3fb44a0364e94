"""`isthmus up` before the mesh starts: what it takes and what it refuses. Running meshes are in tests/integration."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Isthmus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "a", "--image-encoder", "b"], "error: --encoder names both towers"),
        (["--image-encoder", "b"], "error: --image-encoder and --text-encoder go together"),
        (["--log-level", "LOUD"], "error: --log-level: Input should be"),
        (["--port", "70000"], "Invalid value for '--port'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_starts(
    arguments: list[str], message: str, isthmus: Isthmus
) -> None:
    """Exit status 2, nothing on stdout, and no data directory is made."""
    done = isthmus("up", *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert not Path("isthmus-data").exists()


def test_a_misspelt_variable_is_noticed(isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ISTHMUS_UP_… variable that names no setting is refused, not ignored."""
    monkeypatch.setenv("ISTHMUS_UP_PROT", "1")
    done = isthmus("up")
    assert (done.status, "ISTHMUS_UP_PROT" in done.stderr) == (2, True)


def _up(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `isthmus up` as its own process: it owns the log and the signals of whatever process it runs in."""
    command = [sys.executable, "-m", "isthmus.cli", "up", "--data-dir", "data", "--log-level", "ERROR"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, timeout=110
    )


@pytest.mark.timeout(120)
def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """The port of another program: exit status 1, the address, and what to do; what was started is stopped again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _up("--port", port, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port} (START_FAILED)\n  hint: ")
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """An encoder that is neither a folder nor in the cache says how to fetch it; nothing is downloaded unasked."""
    done = _up("--port", 0, "--encoder", "nobody/nothing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: nobody/nothing: ")
    assert "isthmus models pull nobody/nothing" in done.stderr
    assert done.stderr.count("\n") == 1
