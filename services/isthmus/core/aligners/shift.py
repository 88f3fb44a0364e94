"""Shift: move both modalities towards each other along the line between their centroids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner
from isthmus.core.aligners.base import require_one_space
from isthmus.core.aligners.fitted import FitResult, checked_strength
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.modality import Modality

__all__ = ["ShiftAligner", "ShiftFit", "fit_shift"]

_PAIRS_MIN: Final = 2


@dataclass(frozen=True, kw_only=True)
class ShiftFit(FitResult):
    """What a shift needs: the vector between the centroids."""

    method: ClassVar[str] = "shift"
    gap: NDArray[np.float64]
    """(d,), mean of the images minus mean of the texts."""
    strength: float

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.gap)

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return what is taken from each modality."""
        half = 0.5 * self.strength * self.gap
        return Affine.of(mean=half).to_tensors(Modality.IMAGE) | Affine.of(mean=-half).to_tensors(Modality.TEXT)

    def settings(self) -> dict[str, Any]:
        """Return strength and length of the gap."""
        return {"strength": self.strength, "gap": float(np.linalg.norm(self.gap))}


class ShiftAligner(AffineAligner):
    """x' = unit(x - s/2 (mu_image - mu_text)), y' = unit(y + s/2 (mu_image - mu_text)).

    At strength s = 0 nothing moves; at s = 1 the centroids coincide before rows are scaled to unit length (Liang et al.
    2022, "Mind the Gap", section 4, with lambda = s/2). A vector that is moved to the origin is returned as it came.
    """

    method: ClassVar[str] = "shift"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = dict.fromkeys(Modality, frozenset({"mean"}))
    one_space: ClassVar[bool] = True


def fit_shift(pairs: FitPairs, *, strength: float = 1.0) -> ShiftFit:
    """Measure the vector between the centroids.

    Args:
        pairs: Of one raw space.
        strength: Share of the gap to close, in [0, 1].

    Raises:
        SpacesMismatchError: The raw spaces are different.
        NotEnoughItemsError: There are fewer than 2 pairs.
        OptionError: The strength is out of bounds.
    """
    require_one_space(pairs.image_space, pairs.text_space, method=ShiftFit.method)
    require_pairs(pairs, _PAIRS_MIN, method=ShiftFit.method, remedy="add pairs")
    gap = pairs.images.mean(axis=0, dtype=np.float64) - pairs.texts.mean(axis=0, dtype=np.float64)
    return ShiftFit(gap=gap, strength=checked_strength(strength))
