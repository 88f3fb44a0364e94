"""The whole mesh as a child process, started as a user starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.process import Process

__all__ = ["start_mesh"]


def start_mesh(data_dir: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
    """Start `isthmus up` on a free port of loopback and wait until it is warm."""
    command: Sequence[str] = ("-m", "isthmus.cli", "up", "--data-dir", str(data_dir), "--port", "0", *arguments)
    return Process(command, ready="isthmus ready ", env=env)
