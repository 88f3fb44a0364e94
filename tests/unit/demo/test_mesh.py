"""How the demo starts a process, waits for its ready line and stops it; each test runs a real process."""

from __future__ import annotations

import os
import signal
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from tools.demo.mesh import DemoError, Mesh, isthmus_command


def _mesh(folder: Path, program: str, *, ready_timeout_s: float = 20.0, stop_timeout_s: float = 10.0) -> Mesh:
    """Make a mesh whose command is a small Python program; it gets the arguments that `isthmus` would get."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(program), encoding="utf-8")
    return Mesh(
        command=[sys.executable, str(script)],
        data_dir=folder / "data",
        log_file=folder / "mesh.log",
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=stop_timeout_s,
    )


_READY_THEN_WAIT = """
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
    print("loading", flush=True)
    print(" ".join(sys.argv[1:]), file=sys.stderr, flush=True)
    print("isthmus ready 127.0.0.1:54321", flush=True)
    while True:
        signal.pause()
"""


def test_a_mesh_is_ready_at_the_address_it_prints_and_stops_on_leaving(tmp_path: Path) -> None:
    """Lines before the ready line are passed over; leaving the block sends SIGTERM and waits."""
    mesh = _mesh(tmp_path, _READY_THEN_WAIT.format(code=0))
    with mesh:
        assert mesh.address == "127.0.0.1:54321"
        assert mesh.ready_s > 0
        process = mesh._process
        assert process is not None
    assert process.returncode == 0
    assert mesh.stop_s > 0


def test_a_mesh_is_started_as_a_user_would(tmp_path: Path) -> None:
    """The command gets `up`, the data directory and port 0; its log goes to the file."""
    with _mesh(tmp_path, _READY_THEN_WAIT.format(code=0)):
        pass
    assert (tmp_path / "mesh.log").read_text().split() == ["up", "--data-dir", str(tmp_path / "data"), "--port", "0"]


def test_an_unclean_end_is_an_error(tmp_path: Path) -> None:
    """A mesh that ends with another code than 0 did not drain; the message holds the code."""
    with pytest.raises(DemoError, match="exit code 3, not 0"), _mesh(tmp_path, _READY_THEN_WAIT.format(code=3)):
        pass


def test_a_mesh_that_ends_before_it_is_ready_shows_its_log(tmp_path: Path) -> None:
    """The person sees the exit code and the last lines of the log at once."""
    mesh = _mesh(tmp_path, "import sys; sys.exit('no weights here')")
    with pytest.raises(DemoError, match=r"exit code 1 before it was ready[\s\S]*no weights here"):
        mesh.__enter__()


def test_a_mesh_that_stays_silent_is_given_up_and_ended(tmp_path: Path) -> None:
    """The wait for the ready line is bounded; the process is asked to end, so that it can end its own children."""
    mesh = _mesh(tmp_path, "import signal; signal.pause()", ready_timeout_s=0.3)
    with pytest.raises(DemoError, match=r"not ready within 0\.3 s"):
        mesh.__enter__()
    assert mesh._process is not None
    assert mesh._process.returncode == -signal.SIGTERM


def test_a_mesh_that_ignores_sigterm_is_killed_and_reported(tmp_path: Path) -> None:
    """The wait after SIGTERM is bounded; a mesh that had to be killed did not stop cleanly."""
    program = """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("isthmus ready 127.0.0.1:54321", flush=True)
        while True:
            signal.pause()
    """
    with pytest.raises(DemoError, match=r"did not stop within 0\.3 s"), _mesh(tmp_path, program, stop_timeout_s=0.3):
        pass


def test_much_output_after_the_ready_line_does_not_block_the_mesh(tmp_path: Path) -> None:
    """The pipe is read to its end: a megabyte of output does not stand in the way of a clean stop."""
    program = """
        import signal, sys, threading
        done = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: done.set())
        print("isthmus ready 127.0.0.1:54321", flush=True)
        for _ in range(1000):
            print("x" * 1000, flush=True)
        done.wait()
    """
    with _mesh(tmp_path, program):
        pass


def test_the_command_beside_this_python_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a virtual environment the demo runs that environment's `isthmus`, whatever the search path holds."""
    beside = tmp_path / "isthmus"
    beside.write_text("#!/bin/sh\n")
    beside.chmod(beside.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert isthmus_command() == [str(beside)]


def test_a_missing_command_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an installed command the message names the verb that installs it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(DemoError, match="make demo"):
        isthmus_command()
