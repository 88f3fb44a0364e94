"""Threads that give way to those that answer callers."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

import faiss

__all__ = ["be_modest"]

_NICENESS: Final = 10


def be_modest() -> None:
    """Give the calling thread one OpenMP thread and a low priority; the initializer of an executor."""
    faiss.omp_set_num_threads(1)
    # Linux takes a thread for a process here; elsewhere the whole process would give way.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
