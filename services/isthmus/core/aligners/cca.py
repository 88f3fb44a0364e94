"""Canonical correlation analysis: the directions in which two raw spaces say the same, each by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner, affine_tensors
from isthmus.core.aligners.fitted import FitResult
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.aligners.signs import fixed_signs
from isthmus.core.errors import OptionError
from isthmus.core.modality import Modality

__all__ = ["CCA_DIMENSION_DEFAULT", "CcaAligner", "CcaFit", "fit_cca"]

CCA_DIMENSION_DEFAULT: Final = 256
_RIDGE: Final = 0.1
"""Of the covariances, in units of their mean eigenvalue."""


@dataclass(frozen=True, kw_only=True)
class CcaFit(FitResult):
    """Two linear maps, and how strongly each direction correlates."""

    method: ClassVar[str] = "cca"
    mean: Mapping[Modality, NDArray[np.float64]]
    """(d,) of the images, (e,) of the texts."""
    weight: Mapping[Modality, NDArray[np.float64]]
    """(k, d) of the images, (k, e) of the texts."""
    correlation: NDArray[np.float64]
    """(k,) regularised canonical correlations, falling."""
    ridge: float

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.correlation)

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the means and the maps."""
        return affine_tensors(
            {modality: Affine.of(mean=self.mean[modality], weight=self.weight[modality]) for modality in Modality}
        )

    def settings(self) -> dict[str, Any]:
        """Return ridge and spectrum."""
        return {"ridge": self.ridge, "correlation": [round(float(value), 6) for value in self.correlation]}


class CcaAligner(AffineAligner):
    """x' = unit(s U^T (Cx + rI)^-1/2 (x - mu)), and y' with V and Cy, where U s V^T is the SVD of the whitened cross-
    covariance: each direction counts by its correlation s (Gong et al. 2014, eq. 8, power 1).
    """  # noqa: D205 - one formula

    method: ClassVar[str] = "cca"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = dict.fromkeys(Modality, frozenset({"mean", "weight"}))
    one_space: ClassVar[bool] = False


def fit_cca(pairs: FitPairs, *, dimension: int | None = None, ridge: float = _RIDGE) -> CcaFit:
    """Find the maps in closed form, in float64.

    Args:
        pairs: Of one raw space, or of two of any dimensions; at least 2k.
        dimension: k, at most either raw dimension; None takes the largest that dimensions and pairs allow, up to 256.
        ridge: Added to both covariances, in units of their mean eigenvalue; above 0.

    Raises:
        NotEnoughItemsError: There are fewer than 2k pairs.
        OptionError: The dimension or the ridge is out of bounds.
    """
    most = min(pairs.images.shape[1], pairs.texts.shape[1])
    chosen = max(1, min(CCA_DIMENSION_DEFAULT, most, pairs.pair_count // 2)) if dimension is None else dimension
    if not 1 <= chosen <= most:
        msg = f"dimension: must be from 1 to {most}, the smaller raw dimension"
        raise OptionError(msg)
    if ridge <= 0.0:
        msg = "ridge: must be above 0, so that the covariances can be inverted"
        raise OptionError(msg)
    require_pairs(pairs, 2 * chosen, method=CcaFit.method, remedy="add pairs, or name a smaller dimension")
    x, y = pairs.matched()
    mean = {Modality.IMAGE: pairs.images.mean(axis=0, dtype=np.float64), Modality.TEXT: y.mean(axis=0)}
    x, y = x - mean[Modality.IMAGE], y - mean[Modality.TEXT]
    image_root = _inverse_root(x.T @ x / len(x), ridge)
    text_root = _inverse_root(y.T @ y / len(y), ridge)
    left, correlation, right = np.linalg.svd(image_root @ (x.T @ y / len(y)) @ text_root, full_matrices=False)
    correlation = correlation[:chosen]
    image_weight = correlation[:, None] * (left[:, :chosen].T @ image_root)
    text_weight = correlation[:, None] * (right[:chosen] @ text_root)
    signs = fixed_signs(image_weight)
    return CcaFit(
        mean=mean,
        weight={Modality.IMAGE: signs * image_weight, Modality.TEXT: signs * text_weight},
        correlation=correlation,
        ridge=ridge,
    )


def _inverse_root(covariance: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    lifted = np.maximum(values, 0.0) + ridge * max(float(values.mean()), np.finfo(np.float64).tiny)
    root: NDArray[np.float64] = (vectors / np.sqrt(lifted)) @ vectors.T
    return root
