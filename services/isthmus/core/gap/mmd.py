"""Maximum mean discrepancy: how well any smooth function can tell the modalities apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus, halves
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["MmdGap", "mmd_gap"]

_MEDIAN_PAIRS: Final = 1_000
"""Pairs that the bandwidth is taken from."""


@dataclass(frozen=True, kw_only=True)
class MmdGap(MeasureResult):
    """The unbiased squared discrepancy."""

    squared: Figure
    """MMD²; near 0 without a gap, and then below 0 as often as above."""
    bandwidth: float
    """Sigma of the kernel: the median distance of two rows of either modality."""


def mmd_gap(sample: Corpus, *, bootstrap: ClusterBootstrap, seed: int, sampled: bool) -> MmdGap:
    """Measure the mean over i ≠ j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i).

    The U-statistic of equation 4 of :cite:`gretton:12:mmd`, with k(u, v) = exp(-||u - v||² / (2 sigma²)) and sigma the
    median distance of the first 1,000 pairs' rows (ibid., section 8).

    Args:
        sample: Balanced, of one space, at most 2,000 pairs.
        bootstrap: Of this sample.
        seed: Seed of the halves behind the noise floor.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("MMD")
    x, y = sample.images, sample.texts
    sigma2 = _median_squared_distance(np.concatenate([x[:_MEDIAN_PAIRS], y[:_MEDIAN_PAIRS]]))
    image_part, text_part = _projections(x, y, sigma2)
    floor = max(
        sum(float(part.mean()) for part in _projections(*halves(sample.vectors[modality], seed=seed), sigma2))
        for modality in Modality
    )
    return MmdGap(
        n=len(x),
        seed=seed,
        sampled=sampled,
        # A U-statistic of two rows: each row counts twice.
        squared=bootstrap.expanded(
            float(image_part.mean() + text_part.mean()),
            {Modality.IMAGE: 2.0 * image_part, Modality.TEXT: 2.0 * text_part},
            noise_floor=floor,
        ),
        bandwidth=float(np.sqrt(sigma2)),
    )


def _median_squared_distance(rows: NDArray[np.float32]) -> float:
    squared = 2.0 - 2.0 * (rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    return max(float(np.median(squared)), float(np.finfo(np.float32).eps))


def _projections(
    x: NDArray[np.float32], y: NDArray[np.float32], sigma2: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each pair the mean of k(x_i, x_j) - k(x_i, y_j), and of k(y_i, y_j) - k(x_j, y_i), over j ≠ i."""
    xx, yy, xy = _kernel(x, x, sigma2), _kernel(y, y, sigma2), _kernel(x, y, sigma2)
    for kernel in (xx, yy, xy):
        np.fill_diagonal(kernel, 0.0)
    count = max(len(x) - 1, 1)
    rows = (xx.sum(axis=1, dtype=np.float64) - xy.sum(axis=1, dtype=np.float64)) / count
    columns = (yy.sum(axis=1, dtype=np.float64) - xy.sum(axis=0, dtype=np.float64)) / count
    return rows, columns


def _kernel(x: NDArray[np.float32], y: NDArray[np.float32], sigma2: float) -> NDArray[np.float32]:
    kernel: NDArray[np.float32] = np.exp((x @ y.T - np.float32(1.0)) / np.float32(sigma2))
    return kernel
