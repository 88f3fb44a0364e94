"""Canonical correlation analysis: the directions in which two raw spaces say the same, each by how much."""

from __future__ import annotations

import math
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
_RIDGES: Final = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
_RIDGE_OF_FEW: Final = 1.0
_CHOICE_PAIRS_MIN: Final = 20
"""Pairs below which a fifth of them says nothing about the ridge."""
_FOLDS: Final = 5
_JUDGED_PAIRS: Final = 200
"""Pairs to judge a ridge by, where there are so many: of few pairs every fifth has its turn, of many one is enough."""


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


def fit_cca(pairs: FitPairs, *, dimension: int | None = None, ridge: float | None = None, seed: int = 0) -> CcaFit:
    """Find the maps in closed form, in float64.

    Args:
        pairs: Of one raw space, or of two of any dimensions; at least 2k.
        dimension: k, at most either raw dimension; None takes the largest that dimensions and pairs allow, up to 256.
        ridge: r, added to both covariances, in units of their mean eigenvalue; above 0. None takes the one of 6
            between 0.03 and 10 that ranks a fifth of the pairs best when fitted to the others; of fewer than 1,000
            pairs several fifths in turn, so that some 200 pairs, or all, are judged.
        seed: Of the choice of those fifths.

    Raises:
        NotEnoughItemsError: There are fewer than 2k pairs.
        OptionError: The dimension or the ridge is out of bounds.
    """
    most = min(pairs.images.shape[1], pairs.texts.shape[1])
    chosen = max(1, min(CCA_DIMENSION_DEFAULT, most, pairs.pair_count // 2)) if dimension is None else dimension
    if not 1 <= chosen <= most:
        msg = f"dimension: must be from 1 to {most}, the smaller raw dimension"
        raise OptionError(msg)
    if ridge is not None and ridge <= 0.0:
        msg = "ridge: must be above 0, so that the covariances can be inverted"
        raise OptionError(msg)
    require_pairs(pairs, 2 * chosen, method=CcaFit.method, remedy="add pairs, or name a smaller dimension")
    if ridge is None:
        ridge = _chosen_ridge(pairs, chosen, seed=seed)
    return _Moments.of(pairs).solve(chosen, ridge)


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Means and covariances of pairs: all that a solution needs, whatever the ridge."""

    mean: Mapping[Modality, NDArray[np.float64]]
    image: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Eigenvalues and eigenvectors of the images' covariance."""
    text: tuple[NDArray[np.float64], NDArray[np.float64]]
    cross: NDArray[np.float64]
    """(d, e) cross-covariance between the eigenvectors of both."""

    @classmethod
    def of(cls, pairs: FitPairs) -> _Moments:
        x, y = pairs.matched()
        mean = {Modality.IMAGE: pairs.images.mean(axis=0, dtype=np.float64), Modality.TEXT: y.mean(axis=0)}
        x, y = x - mean[Modality.IMAGE], y - mean[Modality.TEXT]
        count = len(y)
        image_values, image_vectors = np.linalg.eigh(x.T @ x / count)
        text_values, text_vectors = np.linalg.eigh(y.T @ y / count)
        return cls(
            mean=mean,
            image=(image_values, image_vectors),
            text=(text_values, text_vectors),
            cross=image_vectors.T @ (x.T @ y / count) @ text_vectors,
        )

    def solve(self, dimension: int, ridge: float) -> CcaFit:
        # Between eigenvectors the inverse roots are diagonal: no product of d x d matrices for each ridge.
        (image_values, image_vectors), (text_values, text_vectors) = self.image, self.text
        image_root, text_root = _inverse_root(image_values, ridge), _inverse_root(text_values, ridge)
        left, correlation, right = np.linalg.svd(image_root[:, None] * self.cross * text_root, full_matrices=False)
        correlation = correlation[:dimension]
        image_weight = correlation[:, None] * ((left[:, :dimension].T * image_root) @ image_vectors.T)
        text_weight = correlation[:, None] * ((right[:dimension] * text_root) @ text_vectors.T)
        signs = fixed_signs(image_weight)
        return CcaFit(
            mean=self.mean,
            weight={Modality.IMAGE: signs * image_weight, Modality.TEXT: signs * text_weight},
            correlation=correlation,
            ridge=ridge,
        )


def _chosen_ridge(pairs: FitPairs, dimension: int, *, seed: int) -> float:
    """Return the ridge by which captions left out of a fit rank their images best, by mean reciprocal rank."""
    count = len(pairs.images)
    if pairs.pair_count < _CHOICE_PAIRS_MIN:
        return _RIDGE_OF_FEW
    fifths = np.array_split(np.random.default_rng(seed).permutation(count), _FOLDS)
    worth = np.zeros(len(_RIDGES))
    for fifth in fifths[: math.ceil(_JUDGED_PAIRS * _FOLDS / count)]:
        judged = np.isin(np.arange(count), fifth)
        if judged[pairs.owners].any() and not judged[pairs.owners].all():
            moments, rest = _Moments.of(pairs.subset(~judged)), pairs.subset(judged)
            worth += [_reciprocal_ranks(moments.solve(dimension, tried), rest) for tried in _RIDGES]
    return _RIDGES[int(np.argmax(worth))] if worth.any() else _RIDGE_OF_FEW


def _reciprocal_ranks(fit: CcaFit, judged: FitPairs) -> float:
    """Return the sum over captions of 1 over the rank of their image."""
    tensors = fit.tensors()
    images, texts = (
        Affine.from_tensors(tensors, modality, parts=CcaAligner.parts[modality]).apply(judged.vectors(modality))
        for modality in Modality
    )
    scores = texts @ images.T
    match = scores[np.arange(len(scores)), judged.owners][:, None]
    return float((1.0 / (1.0 + (scores > match).sum(axis=1))).sum())


def _inverse_root(values: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    lifted = np.maximum(values, 0.0) + ridge * max(float(values.mean()), float(np.finfo(np.float64).tiny))
    root: NDArray[np.float64] = 1.0 / np.sqrt(lifted)
    return root
