"""How many directions each cloud makes use of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap import Corpus
from isthmus.core.modality import Modality

__all__ = ["MOST_SHARE", "ModalitySpectrum", "Spectrum", "spectrum_of"]

MOST_SHARE: Final = 0.9
"""Share of the spread that counts as most of it."""


@dataclass(frozen=True, kw_only=True)
class ModalitySpectrum:
    """The spread of one modality around its mean, strongest direction first."""

    shares: tuple[float, ...]
    """Share of the variance along each direction; sums to 1."""
    most_count: int
    """Directions that together hold 90 % of the variance."""
    effective_count: float
    """exp of the entropy of the shares: as many equal directions would spread it as evenly."""
    dimension: int
    """Directions that there are."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """One spectrum a modality."""

    image: ModalitySpectrum
    """Of the images."""
    text: ModalitySpectrum
    """Of the texts."""
    pair_count: int
    """Pairs looked at. Fewer than there are directions cannot use all of them."""


def spectrum_of(corpus: Corpus) -> Spectrum:
    """Measure the eigenvalues of each modality's covariance.

    The effective count is the effective rank of Roy and Vetterli (2007), of the covariance.

    Args:
        corpus: Balanced; the spaces may differ.
    """
    found = {modality: _of(corpus.vectors[modality]) for modality in Modality}
    return Spectrum(image=found[Modality.IMAGE], text=found[Modality.TEXT], pair_count=len(corpus.images))


def _of(rows: NDArray[np.float32]) -> ModalitySpectrum:
    wide = rows.astype(np.float64)
    wide -= wide.mean(axis=0)
    values = np.maximum(np.linalg.eigvalsh(wide.T @ wide)[::-1], 0.0)
    total = float(values.sum())
    # Equal rows spread along no direction: one that holds everything stands for none.
    shares = values / total if total > 0.0 else np.eye(1, len(values))[0]
    positive = shares[shares > 0.0]
    return ModalitySpectrum(
        shares=tuple(shares.tolist()),
        most_count=min(int(np.searchsorted(np.cumsum(shares), MOST_SHARE)) + 1, len(shares)),
        effective_count=float(np.exp(-(positive * np.log(positive)).sum())),
        dimension=len(shares),
    )
