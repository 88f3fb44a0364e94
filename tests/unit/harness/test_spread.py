"""The figures by which a bench tells how hard its rows are to search."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bench.million_rows import drawn_photos
from tests.bench.spread import spread
from tests.harness.flickr8k_crops import CROPS


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.mark.parametrize("dimension", [2, 5, 8])
def test_both_estimators_find_the_dimension_of_a_sphere(dimension: int) -> None:
    """Uniform on a sphere of so many dimensions inside 32: within a fifth by TwoNN and by maximum likelihood."""
    rng = np.random.default_rng(0)
    inside = np.linalg.qr(rng.standard_normal((32, dimension + 1)))[0]
    found = spread(_unit(rng.standard_normal((4_000, dimension + 1)) @ inside.T))
    assert found.two_nn == pytest.approx(dimension, rel=0.2)
    assert found.mle == pytest.approx(dimension, rel=0.2)


def test_drawn_photos_lie_as_those_they_are_drawn_from() -> None:
    """Crops of one photo are as far apart, within a tenth, and so are those of different photos: nothing shrinks."""
    rng = np.random.default_rng(1)
    inside = np.linalg.qr(rng.standard_normal((32, 6)))[0]
    photos = rng.standard_normal((400, 1, 6)) @ inside.T
    crops = _unit((photos + 0.1 * rng.standard_normal((400, CROPS, 32))).reshape(-1, 32))
    drawn = drawn_photos(crops, 400, seed=0)
    assert _within(drawn) == pytest.approx(_within(crops), rel=0.1)
    assert _among(drawn) == pytest.approx(_among(crops), rel=0.1)


def _within(rows: NDArray[np.float32]) -> float:
    """Return the mean distance of crops from the mean of their photo."""
    photos = rows.reshape(-1, CROPS, rows.shape[1])
    return float(np.linalg.norm(photos - photos.mean(axis=1, keepdims=True), axis=2).mean())


def _among(rows: NDArray[np.float32]) -> float:
    """Return the mean distance of photos from the mean of all."""
    photos = rows.reshape(-1, CROPS, rows.shape[1]).mean(axis=1)
    return float(np.linalg.norm(photos - photos.mean(axis=0), axis=1).mean())
