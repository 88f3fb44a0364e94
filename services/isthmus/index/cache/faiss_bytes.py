"""Structures of FAISS as bytes: only kinds that this index makes, and no size that it would not make.

Whoever reads bytes here has compared their checksum first (`Container.read`). What is refused here is a file that is
whole and is not ours: FAISS's own reader has had heap overflows and endless recursion mended as late as 1.15.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.index.cache.container import Blob, DamagedContainerError

__all__ = ["FAISS_KINDS", "faiss_blob", "limit_deserialization", "read_faiss"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

FAISS_KINDS: Final = {
    b"IxFI": "IndexFlatIP",
    b"IxSQ": "IndexScalarQuantizer",
    b"IwFl": "IndexIVFFlat",
    b"IwSq": "IndexIVFScalarQuantizer",
    b"IwPQ": "IndexIVFPQ",
    b"IHNf": "IndexHNSWFlat",
    b"IHNs": "IndexHNSWSQ",
}
"""What may be read: the first four bytes that FAISS writes, and the class that they must turn into."""

_INNER_KINDS: Final = frozenset({"IndexFlatIP", "IndexScalarQuantizer"})
"""What a coarse quantizer, or the vectors below a graph, may be."""
_LOOP_LIMIT: Final = 10_000_000
"""Entries of anything that FAISS reads in a loop: lists of an IVF, for one."""
_KIND_BYTES: Final = 4
_PART_BYTES: Final = 4 * 1024 * 1024


def limit_deserialization(*, vector_bytes: int) -> None:
    """Set what one vector of anything that is read may take in memory, for all of this process.

    Args:
        vector_bytes: No more than the largest structure has; FAISS's own limit is a terabyte.
    """
    _faiss.set_deserialization_loop_limit(_LOOP_LIMIT)
    _faiss.set_deserialization_vector_byte_limit(vector_bytes)


def faiss_blob(index: Any) -> Blob:
    """Return a structure as a blob; it is written piece by piece and never held twice.

    Raises:
        TypeError: of a kind that is not read back.
    """
    is_known = (
        type(index).__name__ in FAISS_KINDS.values() or type(index) is faiss.IndexFlat
    )  # its first bytes are IxFI
    if not is_known or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        msg = f"a {type(index).__name__} is not read back; add it to FAISS_KINDS"
        raise TypeError(msg)

    def give(take: Callable[[bytes], object]) -> None:
        failed: list[OSError] = []

        def write(data: bytes) -> None:
            try:
                take(data)
            except OSError as error:
                failed.append(error)
                raise

        try:
            _faiss.write_index(index, _faiss.PyCallbackIOWriter(write, _PART_BYTES))
        except RuntimeError:  # all that FAISS says of an error of the callback
            if failed:
                raise failed[0] from None
            raise

    return give


def read_faiss(data: NDArray[np.uint8]) -> Any:
    """Return the structure that `faiss_blob` wrote, with a copy of its own.

    Args:
        data: What a checksum was compared of.

    Raises:
        DamagedContainerError: it is of a kind that this index does not make, or FAISS cannot read it.
    """
    expected = FAISS_KINDS.get(data[:_KIND_BYTES].tobytes())
    if expected is None:
        msg = "the structure is of a kind that this index does not make"
        raise DamagedContainerError(msg)
    # Not ZeroCopyIOReader: what that reads goes on pointing into `data`, and it does not look at the limits.
    remaining = data.data

    def read(size: int) -> bytes:
        nonlocal remaining
        part, remaining = remaining[:size], remaining[size:]
        return part.tobytes()

    try:
        index = _faiss.read_index(_faiss.PyCallbackIOReader(read, _PART_BYTES))
    except RuntimeError as error:
        msg = "FAISS cannot read the structure"
        raise DamagedContainerError(msg) from error
    _check_kinds(index, expected)
    return index


def _check_kinds(index: Any, expected: str) -> None:
    """Check what was made of the bytes, what lies inside too."""
    inner = [_faiss.downcast_index(part) for name in ("quantizer", "storage") if (part := getattr(index, name, None))]
    kinds = {type(part).__name__ for part in inner}
    if type(index).__name__ != expected or not kinds <= _INNER_KINDS or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        msg = "the structure is not what its first bytes say"
        raise DamagedContainerError(msg)
