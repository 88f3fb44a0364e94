"""Vectors in a file of this machine, in place of memory, for as long as somebody holds them."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

import numpy as np

from isthmus.index.cache.container import TEMPORARY_SUFFIX, Container, of_buffers, write_container
from isthmus.index.structures.base import Floats

__all__ = ["mapped_copy"]


def mapped_copy(vectors: Floats, folder: Path, *, reserve_bytes: int = 0) -> Floats:
    """Return vectors that lie in a file, read-only; it has no name any more, and goes with the last who holds it.

    What was written is read back and compared once. The system keeps in memory what it has room for.

    Args:
        vectors: (n, d) float32, contiguous.
        folder: Of the file; made when it is not there.
        reserve_bytes: What is left free on the disk.

    Raises:
        OSError: the disk is full, may not be written, or failed.
        DamagedContainerError: it does not give back what was written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < vectors.nbytes + reserve_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path = folder / f"vectors-{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        write_container(path, kind="vectors", meta={}, blobs={"vectors": of_buffers([np.ascontiguousarray(vectors)])})
        with Container.open(path) as container:
            data = container.map("vectors")
    finally:
        path.unlink(missing_ok=True)
    return data.view(np.float32).reshape(vectors.shape)
