"""FID between the modalities: the squared Wasserstein distance of two fitted Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus, halves
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality

__all__ = ["GaussianGap", "gaussian_gap"]

_RIDGE: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class GaussianGap(MeasureResult):
    """The Fréchet distance of two Gaussians."""

    fid: Figure
    """The squared distance, as it is usually reported under this name."""
    w2: float
    """The 2-Wasserstein distance: its square root."""
    mean_part: float
    """||mu_x - mu_y||²."""
    covariance_part: float
    """Tr(Cx + Cy - 2 (Cx Cy)^{1/2})."""


def gaussian_gap(sample: Corpus, *, bootstrap: ClusterBootstrap, seed: int, sampled: bool) -> GaussianGap:
    """Measure ||mu_x - mu_y||² + Tr(Cx + Cy - 2 (Cx Cy)^{1/2}), equation 6 of :cite:`heusel:17:fid`.

    Args:
        sample: Balanced, of one space.
        bootstrap: Of this sample.
        seed: Seed of the halves behind the noise floor.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.

    Numerics: float64, 1e-6 I added to both covariances. With Cx = L L^T, (Cx Cy)^{1/2} has the trace of
    (L^T Cy L)^{1/2}, an eigenvalue problem of a symmetric matrix. Both estimates grow as the sample shrinks: read them
    beside the noise floor, which comes from halves and is therefore the larger one.
    """
    sample.require_one_space("FID")
    whole = _Frechet(sample.images, sample.texts)
    floor = max(_Frechet(*halves(sample.vectors[modality], seed=seed)).squared for modality in Modality)
    return GaussianGap(
        n=len(sample.images),
        seed=seed,
        sampled=sampled,
        fid=bootstrap.expanded(whole.squared, whole.potentials(), noise_floor=floor, lowest=0.0),
        w2=float(np.sqrt(whole.squared)),
        mean_part=whole.mean_part,
        covariance_part=whole.covariance_part,
    )


class _Frechet:
    """The optimal map between two fitted Gaussians, x -> mu_y + T (x - mu_x)."""

    def __init__(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        self._shift = x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)
        self._x, x_covariance = _centred(x)
        self._y, y_covariance = _centred(y)
        self._factor = np.linalg.cholesky(x_covariance)
        values, self._vectors = np.linalg.eigh(self._factor.T @ y_covariance @ self._factor)
        self._roots = np.sqrt(np.maximum(values, 0.0))
        self.mean_part = float(self._shift @ self._shift)
        traces = np.trace(x_covariance) + np.trace(y_covariance)
        self.covariance_part = max(float(traces - 2.0 * self._roots.sum()), 0.0)
        self.squared = self.mean_part + self.covariance_part

    def potentials(self) -> dict[Modality, NDArray[np.float64]]:
        """Return the derivative of the squared distance in the weight of each row: the potentials of the transport.

        For x it is 2 (mu_x - mu_y).(x - mu_x) + (x - mu_x)^T (I - T) (x - mu_x), for y the same with T^{-1}.
        """
        half = np.sqrt(np.maximum(self._roots, np.finfo(float).tiny))
        # T = L^{-T} M L^{-1} with M = V diag(roots) V^T, so x^T T x is the squared length of half * V^T L^{-1} x.
        from_x = np.linalg.solve(self._factor, self._x.T).T @ self._vectors * half
        from_y = self._y @ self._factor @ self._vectors / half
        return {
            Modality.IMAGE: 2.0 * self._x @ self._shift + np.square(self._x).sum(1) - np.square(from_x).sum(1),
            Modality.TEXT: -2.0 * self._y @ self._shift + np.square(self._y).sum(1) - np.square(from_y).sum(1),
        }


def _centred(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows without their mean, and their covariance with the ridge."""
    wide = rows.astype(np.float64)
    wide -= wide.mean(axis=0)
    covariance = wide.T @ wide / max(len(wide) - 1, 1)
    covariance[np.diag_indices_from(covariance)] += _RIDGE
    return wide, covariance
