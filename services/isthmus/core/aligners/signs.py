"""Fixed signs for singular vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fixed_signs"]


def fixed_signs(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (k, 1) signs that make each row's largest number positive: LAPACK is free to choose, a fit is not."""
    largest = np.take_along_axis(weight, np.abs(weight).argmax(axis=1)[:, None], axis=1)
    return np.where(largest < 0.0, -1.0, 1.0)
