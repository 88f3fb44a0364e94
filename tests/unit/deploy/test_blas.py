"""Threads of linear algebra inside the embedded mesh; each case in a process of its own, whose limit it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_TELL = """
import numpy
from threadpoolctl import threadpool_info
from isthmus.deploy.blas import one_blas_thread

def threads():
    return sorted({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})

before = threads()
with one_blas_thread():
    import scipy.linalg
    print(threads())
print(threads()[-1] == before[-1])
"""


@pytest.mark.parametrize(("stated", "inside"), [(None, "[1]"), ("2", "[2]")], ids=["unset", "the environment wins"])
def test_every_blas_gets_one_thread_unless_the_environment_names_a_number(stated: str | None, inside: str) -> None:
    """The copy of numpy, loaded before, and that of scipy, loaded later; numpy gets its threads back afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if stated is not None:
        environment["OPENBLAS_NUM_THREADS"] = stated
    done = subprocess.run(
        [sys.executable, "-c", _TELL], env=environment, capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.splitlines() == [inside, "True"]
