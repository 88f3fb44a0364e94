"""Retrieval on real photographs nobody fitted anything on: Flickr8k's dev split, through the public door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.mesh import start_mesh
from tests.harness.shared import FLICKR8K_DEV, needs

# Measured with the shipped aligner; the bounds are the issue's.
T2I_AT_LEAST = {"r1": 0.22, "r5": 0.51, "r10": 0.64}
I2T_AT_LEAST = {"r1": 0.27, "r5": 0.55, "r10": 0.69}


def _cli(address: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "isthmus.cli", *arguments, "--address", address, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@needs(FLICKR8K_DEV)
@pytest.mark.timeout(420)
def test_dev_split_recall_with_the_embedded_default(tmp_path: Path) -> None:
    """1,000 photographs and 5,000 captions, indexed and evaluated by the command line as a user would.

    Exact evaluation and evaluation through search agree: the searcher's structures are exact.
    """
    with start_mesh(tmp_path / "data") as mesh:
        indexed = _cli(mesh.address, "index", str(FLICKR8K_DEV), "--collection", "flickr8k-dev")
        report = _cli(mesh.address, "evaluate", "--collection", "flickr8k-dev")
        searched = _cli(mesh.address, "evaluate", "--collection", "flickr8k-dev", "--through-search")
    print(json.dumps(report))
    assert indexed["created"] == 6000
    assert report["n"] == 1000
    for key, least in T2I_AT_LEAST.items():
        assert report["recall"]["t2i"][key] >= least, key
    for key, least in I2T_AT_LEAST.items():
        assert report["recall"]["i2t"][key] >= least, key
    for direction in ("t2i", "i2t"):
        for key in ("r1", "r5", "r10"):
            assert searched["recall"][direction][key] == pytest.approx(report["recall"][direction][key], abs=0.002)
    for query in ("image_query", "text_query"):
        for key, value in report["mixed"][query].items():
            assert searched["mixed"][query][key] == pytest.approx(value, abs=0.005), (query, key)
