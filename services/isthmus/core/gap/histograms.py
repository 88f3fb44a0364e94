"""Score histograms: what cosines each modality pair runs at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult

__all__ = ["ScoreHistogram", "ScoreHistograms", "score_histograms"]

BIN_COUNT: Final = 100
"""Bins over [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class ScoreHistogram:
    """Cosines of one kind of pair."""

    counts: tuple[int, ...]
    """Per bin."""
    mean: float
    """Mean cosine."""
    standard_deviation: float
    """Its standard deviation."""


@dataclass(frozen=True, kw_only=True)
class ScoreHistograms(MeasureResult):
    """One histogram a modality pair, over equal bins of [-1, 1]."""

    edges: tuple[float, ...]
    """Ends of the bins, one more than there are bins."""
    match: ScoreHistogram
    """Image and text of one pair."""
    image_text: ScoreHistogram
    """Image and text of different pairs."""
    image_image: ScoreHistogram
    """Two images."""
    text_text: ScoreHistogram
    """Two texts."""


def score_histograms(sample: Corpus, *, seed: int, sampled: bool) -> ScoreHistograms:
    """Count the cosines of the sample; strangers of both modalities apart from matches.

    Args:
        sample: Balanced, of one space, at most 2,000 pairs.
        seed: Seed of the sample.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("score histograms")
    x, y = sample.images, sample.texts
    edges = np.linspace(-1.0, 1.0, BIN_COUNT + 1)
    upper = np.triu_indices(len(x), k=1)
    cross = x @ y.T
    strangers = cross[~np.eye(len(x), dtype=bool)]
    return ScoreHistograms(
        n=len(x),
        seed=seed,
        sampled=sampled,
        edges=tuple(edges.tolist()),
        match=_histogram(np.diag(cross), edges),
        image_text=_histogram(strangers, edges),
        image_image=_histogram((x @ x.T)[upper], edges),
        text_text=_histogram((y @ y.T)[upper], edges),
    )


def _histogram(cosines: NDArray[np.float32], edges: NDArray[np.float64]) -> ScoreHistogram:
    # A cosine of two equal rows can leave [-1, 1] by a rounding error.
    counts, _ = np.histogram(np.clip(cosines, -1.0, 1.0), bins=edges)
    return ScoreHistogram(
        counts=tuple(counts.tolist()),
        mean=float(cosines.mean(dtype=np.float64)),
        standard_deviation=float(cosines.std(dtype=np.float64)),
    )
