"""The one form in which a raw embedding is stored, cached, sent and compared.

Rows are scaled to unit length and then rounded to the nearest float16 values. float16 is what travels and what the
cache and the store hold, so rounding once, at the start, makes fresh, cached and stored answers equal bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.core.errors import InvalidVectorError, ShapeError

__all__ = ["canonical"]

_HALF_ULP = 2.0**-11  # largest relative error of rounding to a normal float16
_SUBNORMAL_STEP = 2.0**-25  # largest absolute error of rounding to a subnormal float16


def canonical(x: ArrayLike) -> NDArray[np.float32]:
    """Scale rows to unit length and round them to float16 values.

    A row that is canonical already comes back unchanged, so applying this twice equals applying it once, and a vector
    read from one reply can be stored by another call without moving.

    Args:
        x: (n, d) real numbers of any float or integer type, d at least 1.

    Returns:
        (n, d) float32, C-contiguous, each value exactly a float16 value, each row's norm 1 within rounding.

    Raises:
        ShapeError: `x` is not two-dimensional or has no columns.
        InvalidVectorError: A row holds NaN or Inf, or has zero length; names the first such row.

    Numerics: the norm is taken in float64 of the row divided by its largest magnitude, so neither very large nor very
    small rows overflow or vanish. Rows do not influence one another.
    """
    array = np.asarray(x)
    if array.ndim != 2 or array.shape[1] == 0:  # noqa: PLR2004
        msg = f"vectors: need a (n, d) array with d at least 1, got {array.ndim} dimensions"
        raise ShapeError(msg)
    rows = np.ascontiguousarray(array, dtype=np.float64)
    _refuse_first(np.any(~np.isfinite(rows), axis=1), "holds a value that is not finite")
    peak = np.abs(rows).max(axis=1, initial=0.0)
    _refuse_first(peak == 0.0, "has zero length")

    scaled = rows / peak[:, None]
    norm = np.sqrt(np.square(scaled).sum(axis=1))
    rounded: NDArray[np.float32] = (scaled / norm[:, None]).astype(np.float16).astype(np.float32)

    slack = _HALF_ULP + np.sqrt(rows.shape[1]) * _SUBNORMAL_STEP
    with np.errstate(over="ignore"):  # a product of Inf is far from 1, which is the answer wanted
        near_unit = np.abs(norm * peak - 1.0) <= slack
    kept = near_unit.copy()
    kept[near_unit] = (rows[near_unit].astype(np.float16) == rows[near_unit]).all(axis=1)
    rounded[kept] = rows[kept]
    return rounded


def _refuse_first(bad: NDArray[np.bool_], problem: str) -> None:
    """Raise for the first True of `bad`, if there is one."""
    if bad.any():
        raise InvalidVectorError(int(np.argmax(bad)), problem)
