"""Which of some numbers occur among many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_sorted"]


def in_sorted(values: NDArray[np.integer], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which values occur in an ascending array."""
    if not len(ascending):
        return np.zeros(len(values), dtype=np.bool_)
    wanted = values.astype(np.int64)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == wanted
    return found
