"""Standardize: take each modality's mean out and bring every component to one spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner, affine_tensors
from isthmus.core.aligners.base import require_one_space
from isthmus.core.aligners.fitted import FitResult, checked_strength
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.modality import Modality

__all__ = ["StandardizeAligner", "StandardizeFit", "fit_standardize"]

_PAIRS_MIN: Final = 2
_EPSILON: Final = 1e-6
"""Added to every standard deviation, of unit rows: a component that never varies is not blown up."""


@dataclass(frozen=True, kw_only=True)
class StandardizeFit(FitResult):
    """Mean and spread of every component, per modality."""

    method: ClassVar[str] = "standardize"
    mean: Mapping[Modality, NDArray[np.float64]]
    """(d,) each."""
    deviation: Mapping[Modality, NDArray[np.float64]]
    """(d,) each, above 0."""
    strength: float

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.mean[Modality.IMAGE])

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return means and scales, weakened by the strength."""
        return affine_tensors(
            {
                modality: Affine.of(
                    mean=self.strength * self.mean[modality], scale=self.deviation[modality] ** -self.strength
                )
                for modality in Modality
            }
        )

    def settings(self) -> dict[str, Any]:
        """Return the strength."""
        return {"strength": self.strength}


class StandardizeAligner(AffineAligner):
    """x' = unit((x - s mu) / sigma^s), each modality with its own mean and standard deviation.

    The post-hoc form of I0T (An et al. 2024, arXiv:2412.14384) at strength s = 1; the weaker ones are a reconstruction.
    A vector equal to its mean is returned as it came.
    """

    method: ClassVar[str] = "standardize"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = dict.fromkeys(Modality, frozenset({"mean", "scale"}))
    one_space: ClassVar[bool] = True


def fit_standardize(pairs: FitPairs, *, strength: float = 1.0) -> StandardizeFit:
    """Measure mean and spread of every component.

    Args:
        pairs: Of one raw space.
        strength: In [0, 1]; 0 changes nothing.

    Raises:
        SpacesMismatchError: The raw spaces are different.
        NotEnoughItemsError: There are fewer than 2 pairs.
        OptionError: The strength is out of bounds.
    """
    require_one_space(pairs.image_space, pairs.text_space, method=StandardizeFit.method)
    require_pairs(pairs, _PAIRS_MIN, method=StandardizeFit.method, remedy="add pairs")
    rows = {modality: pairs.vectors(modality).astype(np.float64) for modality in Modality}
    return StandardizeFit(
        mean={modality: found.mean(axis=0) for modality, found in rows.items()},
        deviation={modality: found.std(axis=0) + _EPSILON for modality, found in rows.items()},
        strength=checked_strength(strength),
    )
