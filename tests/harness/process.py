"""Start one of our processes as a user would, read its ready line, end it by its own pid."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

__all__ = ["Process"]


class Process:
    """A child process that prints a line ending in its address when it is ready.

    Args:
        arguments: After the interpreter, for example `["-m", "isthmus.cli", "up", "--port", "0"]`.
        ready: How the ready line starts.
        env: Variables to add.
        ready_timeout_s: How long it may take.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        ready: str,
        env: Mapping[str, str] | None = None,
        ready_timeout_s: float = 90.0,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        started_s = time.monotonic()
        self._child = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            text=True,
        )
        lines: queue.Queue[str] = queue.Queue(maxsize=1000)
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        try:
            line = self._wait_ready(lines, ready, started_s + ready_timeout_s)
        except RuntimeError:
            self.kill()
            self._stderr.close()
            raise
        self.ready_line = line.rstrip("\n")
        self.address = self.ready_line.rpartition(" ")[2]
        self.ready_s = time.monotonic() - started_s

    def _wait_ready(self, lines: queue.Queue[str], ready: str, due_s: float) -> str:
        while True:
            try:
                line = lines.get(timeout=max(due_s - time.monotonic(), 0.01))
            except queue.Empty:
                msg = f"not ready in time:\n{self.log()}"
                raise RuntimeError(msg) from None
            if not line:
                msg = f"it ended with {self._child.wait()} before it was ready:\n{self.log()}"
                raise RuntimeError(msg)
            if line.startswith(ready):
                return line

    def _read(self, lines: queue.Queue[str]) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            lines.put(line)
        lines.put("")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._child.poll()

    def rss_mib(self) -> float:
        """Return its resident memory in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        msg = "the process is gone"
        raise RuntimeError(msg)

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        tasks = Path(f"/proc/{self.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]

    def log(self) -> str:
        """Return the end of what it wrote to stderr."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")[-8000:]

    def terminate(self, *, timeout_s: float = 30.0) -> int:
        """Send SIGTERM and return the exit status."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        return self._close(timeout_s)

    def kill(self) -> int:
        """Send SIGKILL and return the exit status."""
        if self._child.poll() is None:
            self._child.kill()
        return self._close(10.0)

    def _close(self, timeout_s: float) -> int:
        try:
            status = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            msg = f"it did not end within {timeout_s:g} s:\n{self.log()}"
            raise RuntimeError(msg) from None
        self._reader.join(5)
        if self._child.stdout is not None:
            self._child.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stderr.close()
