"""Canonical rows: unit length, float16 values, refusals that name the row."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.core import InvalidVectorError, ShapeError, canonical


def test_rows_have_unit_norm_and_float16_values(rng: np.random.Generator) -> None:
    """Every value survives a trip through float16 and every row's norm is 1 within rounding."""
    rows = canonical(rng.normal(size=(50, 512)))
    assert rows.dtype == np.float32
    assert (rows.astype(np.float16).astype(np.float32) == rows).all()
    # Largest deviation measured: 3.6e-5.
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 5e-4


def test_equals_the_plain_formula(rng: np.random.Generator) -> None:
    """Second route: divide by numpy's norm in float64, round to float16."""
    x = rng.normal(size=(40, 33)) * 7
    expected = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    # A quotient on the border between two float16 values may fall either way.
    assert np.abs(canonical(x) - expected).max() <= 2**-11
    assert (canonical(x) == expected).mean() > 0.999


def test_a_huge_and_a_tiny_row_keep_their_direction() -> None:
    """Neither 1e300 nor 1e-300 overflows or vanishes on the way to its norm."""
    rows = canonical(np.array([[3e300, 4e300], [3e-300, 4e-300]]))
    assert np.allclose(rows, [[0.6, 0.8], [0.6, 0.8]], atol=5e-4)


def test_integers_are_accepted() -> None:
    """A list of integers is a vector like any other."""
    assert canonical([[0, 2]]).tolist() == [[0.0, 1.0]]


def test_no_rows_give_no_rows() -> None:
    """An empty batch stays empty and keeps its dimension."""
    assert canonical(np.empty((0, 7))).shape == (0, 7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(bad: float) -> None:
    """The first bad row is named; its value is not."""
    x = np.ones((4, 3))
    x[2, 1] = bad
    x[3, 0] = np.nan
    with pytest.raises(InvalidVectorError, match="row 2 holds a value that is not finite") as caught:
        canonical(x)
    assert caught.value.row == 2


def test_a_row_of_zeros_is_refused_with_its_row() -> None:
    """A vector without direction cannot be normalised."""
    with pytest.raises(InvalidVectorError, match="row 1 has zero length"):
        canonical(np.array([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (2, 0)])
def test_an_array_that_is_not_rows_is_refused(shape: tuple[int, ...]) -> None:
    """Only (n, d) with d at least 1 has rows to scale."""
    with pytest.raises(ShapeError):
        canonical(np.ones(shape))
