"""Pair keys as numbers, so that comparing them is one array operation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["key_codes"]


def key_codes(*groups: Sequence[str | None]) -> tuple[NDArray[np.int64], ...]:
    """Give equal pair keys equal codes, across all groups.

    Args:
        groups: Pair keys; None or empty means that the item has none.

    Returns:
        One (len(group),) int64 array a group. Keys get codes from 0 in order of first appearance; items without a key
        get different negative codes, so that they equal nothing, not even one another.
    """
    known: dict[str, int] = {}
    unkeyed = 0
    coded: list[NDArray[np.int64]] = []
    for group in groups:
        codes = np.empty(len(group), dtype=np.int64)
        for position, key in enumerate(group):
            if key:
                codes[position] = known.setdefault(key, len(known))
            else:
                unkeyed -= 1
                codes[position] = unkeyed
        coded.append(codes)
    return tuple(coded)
