"""FAISS and PyTorch in one process: each brings an OpenMP runtime, and both must work, whichever comes first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import {first}
import {second}
import threading
import numpy as np

rows = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
weight = torch.randn(256, 256)
errors = []

def search():
    import isthmus.index.segments as segments
    index = faiss.IndexFlatIP(64)
    index.add(rows)
    for count in (1, 32, 64) * 5:
        found = index.search(rows[:count], 3)[1]
        if found[:, 0].tolist() != list(range(count)):
            errors.append("search")

def multiply():
    for _ in range(50):
        if not torch.isfinite(weight @ weight).all():
            errors.append("multiply")

threads = [threading.Thread(target=work) for work in (search, multiply, search, multiply)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors, errors
print("fine")
"""


@pytest.mark.parametrize("order", [("faiss", "torch"), ("torch", "faiss")], ids="-then-".join)
def test_faiss_and_torch_work_side_by_side_in_both_import_orders(order: tuple[str, str]) -> None:
    """Threads search and multiply at once: right answers, no crash, exit status 0."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(first=order[0], second=order[1])],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
