"""One warm mesh, shared by the tests that do not stop it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.client import Client
from tests.harness.mesh import start_mesh
from tests.harness.process import Process

collect_ignore = [] if os.environ.get("ISTHMUS_TEST_LONG") == "1" else ["test_ray_recovery_long.py"]


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The embedded mesh, with the encoders that come with it."""
    data_dir: Path = tmp_path_factory.mktemp("mesh")
    with start_mesh(data_dir) as process:
        yield process


@pytest.fixture
def client(mesh: Process) -> Iterator[Client]:
    """A client of the shared mesh."""
    with Client(mesh.address) as connected:
        yield connected
