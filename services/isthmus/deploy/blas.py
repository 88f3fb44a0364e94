"""Keep numpy's linear algebra to one thread where a whole mesh shares a few cores.

OpenBLAS threads spin while they wait for one another, as OpenMP threads do (encoders/_openmp.py), and cannot sleep.
Fitting CCA to 756 pairs of 1,280 and 384 dimensions, on two cores that other processes kept busy, six to a core:

    as many threads as cores   67 s, of which the processor worked 18.9 s
    one thread                 13 s, of which the processor worked  2.9 s
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread"]

_VARIABLE: Final = "OPENBLAS_NUM_THREADS"


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS of this process to one thread; a number that the environment already names wins."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = "1"  # scipy brings a copy of its own, which reads this when it is loaded
    try:
        with threadpool_limits(limits=1, user_api="blas"):  # numpy's copy is loaded already
            yield
    finally:
        del os.environ[_VARIABLE]
