"""Orthogonal Procrustes: turn the centred texts onto the centred images, all angles inside a modality kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner, affine_tensors
from isthmus.core.aligners.fitted import FitResult, checked_strength
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.errors import OptionError
from isthmus.core.modality import Modality

__all__ = ["ProcrustesAligner", "ProcrustesFit", "fit_procrustes"]

_PAIRS_MIN: Final = 2
_INERTIA: Final = 1.0
"""How strongly one raw space resists being turned, in units of the mean singular value."""


@dataclass(frozen=True, kw_only=True)
class ProcrustesFit(FitResult):
    """The means and the rotation."""

    method: ClassVar[str] = "procrustes"
    mean: Mapping[Modality, NDArray[np.float64]]
    """(d,) of the images, (e,) of the texts."""
    rotation: NDArray[np.float64]
    """(d, e), with orthonormal rows or columns at full strength."""
    strength: float
    residual: float
    """Mean squared distance of the centred pairs after turning, over that of the images to their mean."""

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.rotation)

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the means and the rotation."""
        return affine_tensors(
            {
                Modality.IMAGE: Affine.of(mean=self.mean[Modality.IMAGE]),
                Modality.TEXT: Affine.of(mean=self.mean[Modality.TEXT], weight=self.rotation),
            }
        )

    def settings(self) -> dict[str, Any]:
        """Return strength and residual."""
        return {"strength": self.strength, "residual": self.residual}


class ProcrustesAligner(AffineAligner):
    """x' = unit(x - s mu_image), y' = unit(Q (y - s mu_text)) with Q = U V^T, U S V^T the SVD of the cross-covariance.

    The closest turn in the least-squares sense (Schönemann 1966). Of two raw spaces of different dimensions Q keeps
    the smaller one's angles. In one raw space the SVD is that of cross-covariance + inertia * I, so that directions of
    which the pairs say nothing stay as they are (a reconstruction), and strength s blends Q with the identity.
    """

    method: ClassVar[str] = "procrustes"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = {
        Modality.IMAGE: frozenset({"mean"}),
        Modality.TEXT: frozenset({"mean", "weight"}),
    }
    one_space: ClassVar[bool] = False


def fit_procrustes(pairs: FitPairs, *, strength: float = 1.0) -> ProcrustesFit:
    """Find the rotation in closed form, in float64.

    Args:
        pairs: Of one raw space, or of two of any dimensions; then at least twice as many as the smaller dimension.
        strength: In [0, 1]; two raw spaces have only 1.

    Raises:
        NotEnoughItemsError: There are too few pairs.
        OptionError: The strength is out of bounds, or below 1 between two raw spaces.
    """
    one_space = pairs.image_space == pairs.text_space
    if checked_strength(strength) < 1.0 and not one_space:
        msg = "strength: procrustes between two raw spaces has only 1; there is nothing halfway"
        raise OptionError(msg)
    least = _PAIRS_MIN if one_space else 2 * min(pairs.images.shape[1], pairs.texts.shape[1])
    require_pairs(pairs, least, method=ProcrustesFit.method, remedy="add pairs, or fit ridge or cca")
    x, y = pairs.matched()
    mean = {Modality.IMAGE: pairs.images.mean(axis=0, dtype=np.float64), Modality.TEXT: y.mean(axis=0)}
    x, y = x - mean[Modality.IMAGE], y - mean[Modality.TEXT]
    cross = x.T @ y / len(y)  # (d, e)
    if one_space:
        cross += _INERTIA * np.linalg.svd(cross, compute_uv=False).mean() * np.eye(len(cross))
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    rotation = left @ right
    if one_space:
        rotation = strength * rotation + (1.0 - strength) * np.eye(len(cross))
    spread = np.square(x).sum()
    residual = float(np.square(x - y @ rotation.T).sum() / spread) if spread else 0.0
    return ProcrustesFit(
        mean={modality: strength * found for modality, found in mean.items()},
        rotation=rotation,
        strength=strength,
        residual=residual,
    )
