"""Start the mesh as a user does, in a process of its own, and stop it cleanly."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

__all__ = ["DemoError", "Mesh", "isthmus_command"]

_READY = re.compile(r"^isthmus ready (127\.0\.0\.1:\d{1,5})$")
_LOG_LINES_SHOWN = 15


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why, for a person."""


class Mesh:
    """One `isthmus up`, from its start to its clean end.

    Use it as a context manager: leaving the block stops the mesh, also after an error.

    Args:
        command: How to call the command line, for example `[".venv/bin/isthmus"]`.
        data_dir: The mesh's data directory.
        log_file: Where its log goes.
        ready_timeout_s: Longest wait for the ready line.
        stop_timeout_s: Longest wait between SIGTERM and the end of the process.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        data_dir: Path,
        log_file: Path,
        ready_timeout_s: float = 60.0,
        stop_timeout_s: float = 20.0,
    ) -> None:
        self._command = [*command, "up", "--data-dir", str(data_dir), "--port", "0"]
        self._log_file = log_file
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.ready_s = 0.0
        self.stop_s = 0.0

    def __enter__(self) -> Self:
        """Start the process and wait for its ready line.

        Raises:
            DemoError: When it ends or stays silent; the message holds the end of its log.
        """
        started = time.monotonic()
        with self._log_file.open("w", encoding="utf-8") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops the mesh in order.
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        try:
            self.address = self._await_ready(self._process)
        except BaseException:
            _end(self._process, patience_s=self._stop_timeout_s)
            raise
        self.ready_s = time.monotonic() - started
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the mesh, whether or not the block failed."""
        self.stop()

    def stop(self) -> None:
        """Send SIGTERM and wait; a second call does nothing.

        Raises:
            DemoError: When the process does not end in time (it is then killed) or ends with another code than 0.
        """
        process, self._process = self._process, None
        if process is None:
            return
        started = time.monotonic()
        if not _end(process, patience_s=self._stop_timeout_s):
            msg = (
                f"the mesh did not stop within {self._stop_timeout_s:g} s of SIGTERM and was killed\n{self._log_end()}"
            )
            raise DemoError(msg)
        self.stop_s = time.monotonic() - started
        code = process.returncode
        if code != 0:
            msg = f"the mesh ended with exit code {code}, not 0\n{self._log_end()}"
            raise DemoError(msg)

    def _await_ready(self, process: subprocess.Popen[str]) -> str:
        if process.stdout is None:
            msg = "the mesh was started without a pipe for its output: this is a bug"
            raise RuntimeError(msg)
        found: queue.Queue[str | None] = queue.Queue(maxsize=1)
        # A thread, because a pipe cannot be read with a deadline; it also keeps the pipe from filling up later.
        threading.Thread(target=_read_lines, args=(process.stdout, found), daemon=True).start()
        try:
            address = found.get(timeout=self._ready_timeout_s)
        except queue.Empty:
            msg = f"the mesh was not ready within {self._ready_timeout_s:g} s\n{self._log_end()}"
            raise DemoError(msg) from None
        if address is None:
            msg = f"the mesh ended with exit code {process.wait()} before it was ready\n{self._log_end()}"
            raise DemoError(msg)
        return address

    def _log_end(self) -> str:
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"end of {self._log_file}:", *lines])


def isthmus_command() -> list[str]:
    """Return how to call `isthmus`: the one beside this Python first, then the one on the search path.

    Raises:
        DemoError: When there is none.
    """
    beside = Path(sys.executable).with_name("isthmus")
    if os.access(beside, os.X_OK):
        return [str(beside)]
    found = shutil.which("isthmus")
    if found is None:
        msg = "the isthmus command is not installed; `make demo` installs it"
        raise DemoError(msg)
    return [found]


def _end(process: subprocess.Popen[str], *, patience_s: float) -> bool:
    """Send SIGTERM and wait, so that the process can end its own children; kill it when it does not end in time.

    Returns:
        Whether it ended by itself.
    """
    process.terminate()
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _read_lines(stream: IO[str], found: queue.Queue[str | None]) -> None:
    """Read a process's output to its end; put the address once, or None when the end comes first."""
    ready = False
    with stream:
        for line in stream:
            match = _READY.match(line.rstrip("\n"))
            if match and not ready:
                ready = True
                found.put(match.group(1))
    if not ready:
        found.put(None)
