"""The mesh on a local Ray, started as a user starts it, and what its processes are."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.harness.mesh import start_mesh
from tests.harness.process import Process

__all__ = ["has_haproxy", "is_classic", "replicas", "start_ray_mesh"]

_REPLICA = "ray::ServeReplica:"


def is_classic() -> bool:
    """Return whether Ray's own proxy is to be tested rather than HAProxy."""
    return os.environ.get("ISTHMUS_TEST_RAY_CLASSIC") == "1"


def start_ray_mesh(data_dir: Path, *, env: Mapping[str, str] | None = None) -> Process:
    """Start `isthmus up --engine ray` on a free port and wait until it is warm."""
    ingress = {"ISTHMUS_DEPLOY_INGRESS": "classic" if is_classic() else "haproxy"}
    return start_mesh(data_dir, "--engine", "ray", env={**ingress, **(env or {})})


def replicas(pid: int) -> dict[str, list[int]]:
    """Return the process ids of the replicas below `pid` by application."""
    found: dict[str, list[int]] = defaultdict(list)
    for process in psutil.Process(pid).children(recursive=True):
        try:
            title = process.cmdline()[0]
        except (psutil.NoSuchProcess, IndexError):
            continue
        if title.startswith(_REPLICA):
            found[title.removeprefix(_REPLICA).partition(":")[0]].append(process.pid)
    return dict(found)


def has_haproxy(pid: int) -> bool:
    """Return whether an HAProxy runs below `pid`."""
    return any(process.name() == "haproxy" for process in psutil.Process(pid).children(recursive=True))
