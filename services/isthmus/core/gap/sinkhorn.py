"""Sinkhorn divergence: entropic transport, with the bias of its entropy taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus, halves
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality
from isthmus.core.pot import load_pot

__all__ = ["SINKHORN_LIMIT", "SinkhornGap", "sinkhorn_gap"]

SINKHORN_LIMIT: Final = 1_000
"""Pairs that are looked at: each of the seven transports holds a dense plan."""

_BLUR: Final = 0.1
_ITERATION_MAX: Final = 500
_MARGINAL_ERROR: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class SinkhornGap(MeasureResult):
    """The debiased entropic transport cost."""

    divergence: Figure
    """In squared distance; 0 for equal clouds."""
    epsilon: float
    """Strength of the entropy: a tenth of the mean squared distance between the modalities."""
    marginal_error: float
    """Largest error of a marginal at the end."""
    converged: bool
    """Whether that error came below 1e-6."""


def sinkhorn_gap(sample: Corpus, *, bootstrap: ClusterBootstrap, seed: int, sampled: bool) -> SinkhornGap:
    """Measure OT(X, Y) - OT(X, X) / 2 - OT(Y, Y) / 2, equation 3 of :cite:`feydy:19:sinkhorn`.

    OT is the entropic cost with squared distances, entropy relative to the product of the marginals, solved by POT
    (:cite:`flamary:21:pot`).

    Args:
        sample: Balanced, of one space, at most 2,000 pairs.
        bootstrap: Of this sample.
        seed: Seed of the halves behind the noise floor.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("Sinkhorn divergence")
    x, y = sample.images, sample.texts
    epsilon = max(_BLUR * float(_costs(x, y).mean()), float(np.finfo(np.float32).eps))
    whole = _Divergence(x, y, epsilon=epsilon)
    floor = max(_Divergence(*halves(sample.vectors[m], seed=seed), epsilon=epsilon).value for m in Modality)
    return SinkhornGap(
        n=len(x),
        seed=seed,
        sampled=sampled,
        divergence=bootstrap.expanded(
            whole.value,
            {Modality.IMAGE: whole.x_potential, Modality.TEXT: whole.y_potential},
            noise_floor=floor,
            lowest=0.0,
        ),
        epsilon=epsilon,
        marginal_error=whole.marginal_error,
        converged=whole.marginal_error <= _MARGINAL_ERROR,
    )


class _Divergence:
    """Value, and its derivative in the weight of each row: differences of dual potentials (ibid., proposition 2)."""

    def __init__(self, x: NDArray[np.float32], y: NDArray[np.float32], *, epsilon: float) -> None:
        f, g, cross_error = _potentials(_costs(x, y), epsilon)
        x_own, x_other, x_error = _potentials(_costs(x, x), epsilon)
        y_own, y_other, y_error = _potentials(_costs(y, y), epsilon)
        # Inside one cloud both potentials are the same but for a constant: their mean has none.
        self.x_potential = f - 0.5 * (x_own + x_other)
        self.y_potential = g - 0.5 * (y_own + y_other)
        self.value = max(float(self.x_potential.mean() + self.y_potential.mean()), 0.0)
        self.marginal_error = max(cross_error, x_error, y_error)


def _costs(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return squared distances of unit rows."""
    costs: NDArray[np.float64] = np.maximum(2.0 - 2.0 * (x.astype(np.float64) @ y.astype(np.float64).T), 0.0)
    return costs


def _potentials(costs: NDArray[np.float64], epsilon: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return both dual potentials for uniform marginals, and the error of the marginals."""
    rows, columns = costs.shape
    a, b = np.full(rows, 1.0 / rows), np.full(columns, 1.0 / columns)
    _, log = load_pot().sinkhorn(
        a, b, costs, epsilon, numItermax=_ITERATION_MAX, stopThr=_MARGINAL_ERROR, log=True, warn=False
    )
    return epsilon * np.log(log["u"] / a), epsilon * np.log(log["v"] / b), float(log["err"][-1])
