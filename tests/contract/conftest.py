"""What several contracts are checked on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "-w", str(folder), str(root)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("isthmus-*.whl")
    return built
