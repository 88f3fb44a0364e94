"""Spectral embedding of the image-text similarity graph, in closed form through two d x d Gram matrices.

The graph joins every image to every text by their similarity W = X Y^T + c, c a constant lift. With degrees dx = W 1,
dy = W^T 1 the eigenvectors of its random-walk Laplacian I - D^-1 A with the smallest eigenvalues 1 - sigma_k are

    F_image = Dx^-1/2 U_k,   F_text = Dy^-1/2 V_k,   U S V^T the SVD of Dx^-1/2 W Dy^-1/2.

W has rank at most d (+ 1 for the lift), so with Gx = X^T Dx^-1 X, Gy = Y^T Dy^-1 Y and P S R^T the SVD of Gx^1/2 Gy^1/2

    F_image = Dx^-1 X Gy^1/2 R S^-1,   F_text = Dy^-1 Y Gx^1/2 P S^-1,

which holds for rows outside the fit too, and the degree, a positive factor a row, is lost in scaling to unit length.
(Role, Meyer and Amblard 2025, arXiv:2505.03703, as told second-hand; closed form, lift and out-of-sample rule are a
reconstruction.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner, affine_tensors
from isthmus.core.aligners.base import require_one_space
from isthmus.core.aligners.fitted import FitResult
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.aligners.signs import fixed_signs
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import DegreesError, OptionError
from isthmus.core.modality import Modality

__all__ = ["SPECTRAL_DIMENSION_DEFAULT", "SpectralAligner", "SpectralFit", "fit_spectral"]

SPECTRAL_DIMENSION_DEFAULT: Final = 60
_BLOCK_ROWS: Final = 8_192
_SAMPLE_ROWS: Final = 1_000
_SIGMA_MIN: Final = 1e-9
_SIGMA_ONE: Final = 1.0 - 1e-9
"""A singular value from here on is a part of the graph with no edge to the rest."""


@dataclass(frozen=True, kw_only=True)
class SpectralFit(FitResult):
    """The maps, the spectrum, and what tells whether the graph was sound."""

    method: ClassVar[str] = "spectral"
    weight: Mapping[Modality, NDArray[np.float64]]
    """(k, d) each: degree * F of a row x is weight @ x + bias."""
    bias: Mapping[Modality, NDArray[np.float64]]
    """(k,) each; zero without a lift."""
    degree: Mapping[Modality, NDArray[np.float64]]
    """(d + 1,) each: the degree of a row x is degree @ [x, 1]."""
    sigma: NDArray[np.float64]
    """(k,) singular values, falling, the trivial first one left out."""
    lift: float
    """c, added to every similarity."""
    least_degree: float
    """Smallest degree over the mean degree."""
    part_count: int
    """Parts of the graph without an edge between them; 1 is sound."""
    by_sigma: bool
    """Whether coordinates count by their singular value."""

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.sigma)

    def coordinates(self, rows: NDArray[np.float32], modality: Modality) -> NDArray[np.float64]:
        """Return F, (n, k) float64, of any rows: of those that were fitted on, exactly the eigenvectors."""
        wide = rows.astype(np.float64)
        degree = wide @ self.degree[modality][:-1] + self.degree[modality][-1]
        coordinates: NDArray[np.float64] = (wide @ self.weight[modality].T + self.bias[modality]) / degree[:, None]
        return coordinates

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the maps, weighted by sigma if so asked; scaled, which unit rows do not show."""
        factor = self.sigma if self.by_sigma else np.ones(self.dimension)
        sides = {}
        for modality in Modality:
            weight, bias = factor[:, None] * self.weight[modality], factor * self.bias[modality]
            size = max(float(np.abs(weight).max()), float(np.finfo(np.float32).tiny))
            sides[modality] = Affine.of(weight=weight / size, bias=bias / size)
        return affine_tensors(sides)

    def settings(self) -> dict[str, Any]:
        """Return lift, weighting and spectrum."""
        return {
            "by_sigma": self.by_sigma,
            "lift": self.lift,
            "least_degree": self.least_degree,
            "parts": self.part_count,
            "sigma": [round(float(value), 9) for value in self.sigma],
        }


class SpectralAligner(AffineAligner):
    """Apply the closed form of `isthmus.core.aligners.spectral`."""

    method: ClassVar[str] = "spectral"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = dict.fromkeys(Modality, frozenset({"weight", "bias"}))
    one_space: ClassVar[bool] = True


def fit_spectral(
    pairs: FitPairs, *, dimension: int | None = None, by_sigma: bool = False, lift: float | None = None, seed: int = 0
) -> SpectralFit:
    """Find the embedding in O(n d^2), never holding an n x n matrix, in float64.

    Args:
        pairs: Of one raw space; at least 2k.
        dimension: k, below the raw dimension; None means 60.
        by_sigma: Scale coordinate k by sigma_k, which keeps more cross-modal recall at large k (ours).
        lift: c, at least 0; None takes 0 when all degrees are then above 0, as they are for CLIP, else minus the least
            similarity of a seeded sample, as it takes for SigLIP or centred vectors.
        seed: Of that sample.

    Raises:
        SpacesMismatchError: The raw spaces are different.
        NotEnoughItemsError: There are fewer than 2k pairs.
        DegreesError: A degree is not above 0; says what to do.
        OptionError: The dimension or the lift is out of bounds.
    """
    require_one_space(pairs.image_space, pairs.text_space, method=SpectralFit.method)
    chosen = SPECTRAL_DIMENSION_DEFAULT if dimension is None else dimension
    if not 1 <= chosen < pairs.images.shape[1]:
        msg = f"dimension: must be from 1 to {pairs.images.shape[1] - 1}, below the raw dimension"
        raise OptionError(msg)
    if lift is not None and lift < 0.0:
        msg = "lift: must be at least 0"
        raise OptionError(msg)
    require_pairs(pairs, 2 * chosen, method=SpectralFit.method, remedy="add pairs, or name a smaller dimension")
    added = lift or 0.0
    degree = {modality: pairs.vectors(modality.other).sum(axis=0, dtype=np.float64) for modality in Modality}
    degrees = {modality: pairs.vectors(modality) @ degree[modality] for modality in Modality}
    if lift is None and min(found.min() for found in degrees.values()) <= 0.0:
        added = _sampled_lift(pairs, seed=seed)
    degree = {m: np.append(found, added * len(pairs.vectors(m.other))) for m, found in degree.items()}
    degrees = {modality: found + degree[modality][-1] for modality, found in degrees.items()}
    _require_degrees(degrees)
    root = added**0.5  # [x, root] . [y, root] = x . y + c
    image_root, text_root = (
        _square_root(_gram(pairs.vectors(modality), root, degrees[modality])) for modality in Modality
    )
    left, sigma, right = np.linalg.svd(image_root @ text_root)
    kept = slice(1, chosen + 1)
    sigma = np.maximum(sigma[kept], _SIGMA_MIN)
    weight = {Modality.IMAGE: (right[kept] @ text_root), Modality.TEXT: (left[:, kept].T @ image_root)}
    signs = fixed_signs(weight[Modality.IMAGE]) / sigma[:, None]
    weight = {modality: signs * found for modality, found in weight.items()}
    return SpectralFit(
        weight={modality: found[:, :-1] for modality, found in weight.items()},
        bias={modality: root * found[:, -1] for modality, found in weight.items()},
        degree=degree,
        sigma=sigma,
        lift=added,
        least_degree=min((found / found.mean()).min().item() for found in degrees.values()),
        part_count=1 + int((sigma >= _SIGMA_ONE).sum()),
        by_sigma=by_sigma,
    )


def _sampled_lift(pairs: FitPairs, *, seed: int) -> float:
    """Return what makes all similarities of a sample at least 0."""
    rng = np.random.default_rng(seed)
    rows = {
        modality: rng.permutation(len(pairs.vectors(modality)))[:_SAMPLE_ROWS].astype(np.intp) for modality in Modality
    }
    least = (pairs.images[rows[Modality.IMAGE]] @ pairs.texts[rows[Modality.TEXT]].T).min()
    return max(0.0, -float(least))


def _require_degrees(degrees: Mapping[Modality, NDArray[np.float64]]) -> None:
    for modality, found in degrees.items():
        lost = int((found <= 0.0).sum())
        if lost:
            msg = (
                f"spectral: {lost} of {len(found)} {modality}s have similarities to the other modality that do not sum "
                "to more than 0; leave them out, or name a larger lift"
            )
            raise DegreesError(msg)


def _gram(rows: NDArray[np.float32], root: float, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (d + 1, d + 1): sum over rows of z z^T / degree, z = [x, root]."""
    size = rows.shape[1] + 1
    gram = np.zeros((size, size))
    for start in range(0, len(rows), _BLOCK_ROWS):
        checkpoint()
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        block = np.concatenate([block, np.full((len(block), 1), root)], axis=1)
        block /= np.sqrt(degrees[start : start + _BLOCK_ROWS])[:, None]
        gram += block.T @ block
    return gram


def _square_root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(gram)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
