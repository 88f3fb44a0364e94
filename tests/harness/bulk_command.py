"""Run `isthmus bulk-index` beside a mesh, and kill it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.process import Process

__all__ = ["command", "finish", "kill_when"]


def command(mesh: Process, staging: Path, files: Sequence[Path], engine: str, *more: str, block_rows: int) -> list[str]:
    """Return the command that indexes files of photos into `photos`."""
    options = ["-c", "photos", "--engine", engine, "--staging", str(staging), "--block-rows", str(block_rows), *more]
    return [
        *(sys.executable, "-m", "isthmus.cli", "bulk-index", *map(str, files)),
        *options,
        *("--address", mesh.address, "--json"),
    ]


def kill_when(command: Sequence[str], staging: Path, *, records: int, moment: str) -> None:
    """Run the command until it has written so many records anew and then a file of that kind; kill it there."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        before = set(staging.glob("*/*/*.json"))
        while len(set(staging.glob("*/*/*.json")) - before) < records or not list(staging.glob(f"*/*/{moment}")):
            assert child.poll() is None, child.stderr and child.stderr.read()
            time.sleep(0.002)
        child.kill()


def finish(command: Sequence[str]) -> dict[str, Any]:
    """Run the command to its end and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document
