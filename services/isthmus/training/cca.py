"""Canonical correlation analysis: where the heads start from, and a control for what they learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinearPair", "fit_cca"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearPair:
    """Two linear maps into one space: x to (x - mean) @ weight."""

    image_mean: NDArray[np.float32]
    image_weight: NDArray[np.float32]
    """(d, k)."""
    text_mean: NDArray[np.float32]
    text_weight: NDArray[np.float32]
    """(e, k)."""


def fit_cca(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    *,
    owners: NDArray[np.intp],
    dimension: int,
    image_ridge: float = 1e-4,
    text_ridge: float = 1e-3,
) -> LinearPair:
    """Fit regularised CCA in closed form, each direction weighted by its correlation.

    With covariances Cx, Cy, Cxy: the singular values s and vectors U, V of (Cx + rI)^-1/2 Cxy (Cy + qI)^-1/2 give the
    maps (Cx + rI)^-1/2 U s and (Cy + qI)^-1/2 V s. The weight s counts strongly correlated directions more (Gong et
    al. 2014, "A multi-view embedding space for modeling internet images, tags, and their semantics", eq. 8).

    Args:
        images: (n, d) float32, one row a photo.
        texts: (m, e) float32, one row a caption.
        owners: (m,) row of the photo that each caption belongs to.
        dimension: k, at most min(d, e).
        image_ridge: r, for unit-norm rows.
        text_ridge: q, for unit-norm rows.

    Numerics: float64; the ridges keep both inverse roots bounded.
    """
    x = images.astype(np.float64) - images.mean(axis=0, dtype=np.float64)
    y = texts.astype(np.float64) - texts.mean(axis=0, dtype=np.float64)
    image_root = _inverse_root(x.T @ x / len(x), image_ridge)
    text_root = _inverse_root(y.T @ y / len(y), text_ridge)
    cross = x[owners].T @ y / len(y)
    left, strength, right = np.linalg.svd(image_root @ cross @ text_root, full_matrices=False)
    return LinearPair(
        image_mean=images.mean(axis=0, dtype=np.float64).astype(np.float32),
        image_weight=(image_root @ left[:, :dimension] * strength[:dimension]).astype(np.float32),
        text_mean=texts.mean(axis=0, dtype=np.float64).astype(np.float32),
        text_weight=(text_root @ right[:dimension].T * strength[:dimension]).astype(np.float32),
    )


def _inverse_root(covariance: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
    root: NDArray[np.float64] = (vectors / np.sqrt(values)) @ vectors.T
    return root
