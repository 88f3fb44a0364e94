"""Sliced Wasserstein distance: the mean over directions of a distance that sorting solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus, halves
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["DIRECTION_COUNT", "SlicedGap", "sliced_gap"]

DIRECTION_COUNT: Final = 128
"""Random directions that are looked along."""


@dataclass(frozen=True, kw_only=True)
class SlicedGap(MeasureResult):
    """The sliced 2-Wasserstein distance."""

    w2: Figure
    """The distance: root of the mean squared distance along a direction."""
    squared: float
    """Its square."""
    direction_count: int
    """Directions looked along."""


def sliced_gap(sample: Corpus, *, bootstrap: ClusterBootstrap, seed: int, sampled: bool) -> SlicedGap:
    """Measure the root of the mean over 128 seeded directions t of W2²(X t, Y t), :cite:`bonneel:15:sliced`.

    Args:
        sample: Balanced, of one space.
        bootstrap: Of this sample.
        seed: Seed of the directions, and of the halves behind the noise floor.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("sliced W2")
    directions = np.random.default_rng(seed).normal(size=(sample.images.shape[1], DIRECTION_COUNT))
    directions /= np.linalg.norm(directions, axis=0)
    x, y = sample.images @ directions, sample.texts @ directions  # (n, directions)
    squared = _squared(x, y)
    distance = float(np.sqrt(squared))
    floor = max(
        float(np.sqrt(_squared(*(half @ directions for half in halves(sample.vectors[modality], seed=seed)))))
        for modality in Modality
    )
    # The derivative of a root: 1 / (2 w2) times that of the square.
    gain = 0.5 / distance if distance else 0.0
    return SlicedGap(
        n=len(sample.images),
        seed=seed,
        sampled=sampled,
        w2=bootstrap.expanded(
            distance,
            {Modality.IMAGE: gain * _potentials(x, y), Modality.TEXT: gain * _potentials(y, x)},
            noise_floor=floor,
            lowest=0.0,
        ),
        squared=squared,
        direction_count=DIRECTION_COUNT,
    )


def _squared(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.square(np.sort(x, axis=0) - np.sort(y, axis=0)).mean())


def _potentials(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over directions of the potential of each row of `x`.

    Along one direction the optimal map T keeps the order and the potential's slope is 2 (x - T(x)): trapezoids.
    """
    order = np.argsort(x, axis=0)
    x_sorted = np.take_along_axis(x, order, axis=0)
    slope = 2.0 * (x_sorted - np.sort(y, axis=0))
    steps = 0.5 * (slope[1:] + slope[:-1]) * np.diff(x_sorted, axis=0)
    rising = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(steps, axis=0)])
    potentials = np.empty_like(rising)
    np.put_along_axis(potentials, order, rising - rising.mean(axis=0), axis=0)
    mean: NDArray[np.float64] = potentials.mean(axis=1)
    return mean
