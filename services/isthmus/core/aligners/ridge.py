"""Ridge regression: predict the image vector from the text vector, whatever the two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import Affine, AffineAligner, affine_tensors
from isthmus.core.aligners.fitted import FitResult
from isthmus.core.aligners.pairs import FitPairs, require_pairs
from isthmus.core.errors import OptionError
from isthmus.core.modality import Modality

__all__ = ["RidgeAligner", "RidgeFit", "fit_ridge"]

_PAIRS_MIN: Final = 2
_PENALTIES: Final = np.logspace(-4, 2, 13)
"""In units of the mean eigenvalue of the texts' covariance."""


@dataclass(frozen=True, kw_only=True)
class RidgeFit(FitResult):
    """The regression, and how its penalty was chosen."""

    method: ClassVar[str] = "ridge"
    mean: Mapping[Modality, NDArray[np.float64]]
    """(d,) of the images, (e,) of the texts."""
    weight: NDArray[np.float64]
    """(d, e)."""
    penalty: float
    """In units of the mean eigenvalue of the texts' covariance."""
    error: float
    """Generalised cross-validation error over the images' variance; 1 predicts no better than their mean."""

    @property
    def dimension(self) -> int:
        """Length of an aligned vector."""
        return len(self.weight)

    def tensors(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the means and the regression."""
        return affine_tensors(
            {
                Modality.IMAGE: Affine.of(mean=self.mean[Modality.IMAGE]),
                Modality.TEXT: Affine.of(mean=self.mean[Modality.TEXT], weight=self.weight),
            }
        )

    def settings(self) -> dict[str, Any]:
        """Return penalty and error."""
        return {"penalty": self.penalty, "error": self.error}


class RidgeAligner(AffineAligner):
    """x' = unit(x - mu_image), y' = unit(B (y - mu_text)), B = Cxy (Cyy + r I)^-1 (Hoerl and Kennard 1970)."""

    method: ClassVar[str] = "ridge"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = {
        Modality.IMAGE: frozenset({"mean"}),
        Modality.TEXT: frozenset({"mean", "weight"}),
    }
    one_space: ClassVar[bool] = False


def fit_ridge(pairs: FitPairs, *, penalty: float | None = None) -> RidgeFit:
    """Solve the regression in closed form, in float64.

    Args:
        pairs: Of one raw space, or of two of any dimensions.
        penalty: r, in units of the mean eigenvalue of the texts' covariance, above 0; None takes the one of 13 between
            1e-4 and 100 with the least generalised cross-validation error (Golub, Heath and Wahba 1979, eq. 1.4).

    Raises:
        NotEnoughItemsError: There are fewer than 2 pairs.
        OptionError: The penalty is not above 0.
    """
    if penalty is not None and penalty <= 0.0:
        msg = "penalty: must be above 0"
        raise OptionError(msg)
    require_pairs(pairs, _PAIRS_MIN, method=RidgeFit.method, remedy="add pairs")
    x, y = pairs.matched()
    mean = {Modality.IMAGE: pairs.images.mean(axis=0, dtype=np.float64), Modality.TEXT: y.mean(axis=0)}
    x, y = x - mean[Modality.IMAGE], y - mean[Modality.TEXT]
    values, vectors = np.linalg.eigh(y.T @ y / len(y))
    values = np.maximum(values, 0.0)
    unit = max(float(values.mean()), np.finfo(np.float64).tiny)
    target = vectors.T @ (y.T @ x / len(y))  # (e, d)
    total = max(float(np.square(x).sum()) / len(x), np.finfo(np.float64).tiny)
    energy = np.square(target).sum(axis=1)

    def error(tried: float) -> float:
        shrunk = values / (values + tried * unit)
        inverse = 1.0 / (values + tried * unit)
        residual = total - 2.0 * float(energy @ inverse) + float(energy @ (values * inverse**2))
        return residual / (1.0 - float(shrunk.sum()) / len(y)) ** 2 / total if shrunk.sum() < len(y) else np.inf

    chosen = float(min(_PENALTIES.tolist(), key=error)) if penalty is None else penalty
    weight = (vectors @ (target / (values + chosen * unit)[:, None])).T
    return RidgeFit(mean=mean, weight=weight, penalty=chosen, error=float(error(chosen)))
