"""Choose by a keyed hash: the choice depends on the names and the seed, never on their order."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["hashed_share", "keyed_hashes", "keyed_sample"]

_HASH_BYTES = 8
_SEED_BYTES = 16
_FLOAT_BITS = 53  # what a float64 in [0, 1) holds exactly


def _keyed_hash(name: str, *, seed: int) -> int:
    key = seed.to_bytes(_SEED_BYTES, "little")
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_HASH_BYTES, key=key).digest(), "little")


def keyed_sample(names: Sequence[str], *, seed: int, limit: int) -> NDArray[np.intp]:
    """Return the positions of the `limit` names with the smallest keyed hash.

    Args:
        names: All different.
        seed: At least 0.
        limit: How many to choose at most.

    Returns:
        (min(len(names), limit),) positions, ordered by hash.
    """
    hashed = ((_keyed_hash(name, seed=seed), position) for position, name in enumerate(names))
    return np.array([position for _, position in heapq.nsmallest(limit, hashed)], dtype=np.intp)


def keyed_hashes(names: Sequence[str], *, seed: int) -> NDArray[np.uint64]:
    """Return what `keyed_sample` orders names by, (n,) uint64."""
    return np.fromiter((_keyed_hash(name, seed=seed) for name in names), dtype=np.uint64, count=len(names))


def hashed_share(name: str, *, seed: int) -> float:
    """Return a number in [0, 1) that depends on `name` and `seed` only: below p for a share p of all names."""
    return (_keyed_hash(name, seed=seed) >> (8 * _HASH_BYTES - _FLOAT_BITS)) / 2.0**_FLOAT_BITS
