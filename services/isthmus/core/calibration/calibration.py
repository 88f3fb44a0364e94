"""Make scores of different modality pairs comparable, without touching any ranking inside one pair.

A cosine between two texts and a cosine between a text and an image are not the same measure: one kind runs higher, so
a plain merge shows one modality only. For a query of modality p and an item of modality m with cosine s

    z     = (s - location_pm) / scale_pm          how surprising s is among best impostors of that kind
    logit = slope_pm * z + intercept_pm           log-odds that the pair matches, where that was fitted

and candidates of both modalities are merged by the logit, or by z where there is none. Both are straight lines in s of
positive slope, so every ranking inside one modality, hence every cross-modal recall, stays exactly as it was, and
unlike a probability neither saturates. (Calibrated merge, a reconstruction: docs/methods.md)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.core.calibration.pair_curve import PairCurve
from isthmus.core.calibration.thresholds import AcceptThresholds
from isthmus.core.errors import CoreError
from isthmus.core.modality import Modality

__all__ = ["MODALITY_PAIRS", "Calibration", "CalibrationSource", "ScoreCurve"]

MODALITY_PAIRS: Final = tuple((query, item) for query in Modality for item in Modality)
"""Every (query modality, item modality)."""

_SCALE_MIN: Final = 1e-4
_GAIN_MAX: Final = 1e6
_TAIL_MIN: Final = 0.01


class CalibrationSource(StrEnum):
    """Where the numbers of a calibration come from."""

    FITTED = "fitted"
    """Fitted on held-out pairs, part of the aligner's artefact."""
    ESTIMATED = "estimated"
    """Estimated from the collection's own vectors."""
    DEFAULT = "default"
    """Too few vectors to estimate from: scores are merged as they are."""


@dataclass(frozen=True, kw_only=True)
class ScoreCurve:
    """The line that one (query modality, item modality) is judged by.

    Raises:
        CoreError: A number is not finite, the scale or the slope is not positive, or the line is so steep or so flat
            that float64 could no longer tell two scores apart.
    """

    location: float
    """Cosine that is nothing special: the mean best impostor."""
    scale: float
    """Standard deviation of the best impostor, above 0."""
    slope: float = 1.0
    """Log-odds a unit of z, above 0."""
    intercept: float = 0.0
    """Log-odds at the location."""
    tail: float | None = None
    """From the location on z counts as tail * log(1 + z / tail), above 0; None leaves it a straight line."""

    def __post_init__(self) -> None:
        """Check that the line rises."""
        if not all(math.isfinite(value) for value in (self.location, self.scale, self.slope, self.intercept)):
            msg = "calibration: a number is not finite"
            raise CoreError(msg)
        if self.scale <= 0.0 or self.slope <= 0.0 or not 1.0 / _GAIN_MAX <= self.slope / self.scale <= _GAIN_MAX:
            msg = "calibration: scale and slope must be positive and of moderate size"
            raise CoreError(msg)
        if self.tail is not None and not _TAIL_MIN <= self.tail <= _GAIN_MAX:
            msg = "calibration: tail must be positive and of moderate size"
            raise CoreError(msg)
        if max(abs(self.location), abs(self.intercept)) > _GAIN_MAX:
            msg = "calibration: location and intercept must be of moderate size"
            raise CoreError(msg)

    def merge_score(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return `slope * z + intercept`, z with its tail; strictly increasing for float32 scores."""
        z = (np.asarray(scores, dtype=np.float64) - self.location) / self.scale
        return self.bent(z) * self.slope + self.intercept

    def bent(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z with its tail."""
        if self.tail is None:
            return z
        bent: NDArray[np.float64] = np.where(z > 0.0, self.tail * np.log1p(np.maximum(z, 0.0) / self.tail), z)
        return bent


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A score curve for every (query modality, item modality)."""

    source: CalibrationSource
    curves: Mapping[tuple[Modality, Modality], ScoreCurve]
    thresholds: AcceptThresholds | None = None
    """When to say "no such item", if that was fitted."""
    pairs: PairCurve | None = None
    """What the score of one pair by itself says, if that was fitted."""

    def __post_init__(self) -> None:
        """Check that no pair is missing."""
        if set(self.curves) != set(MODALITY_PAIRS):
            msg = f"calibration: needs {len(MODALITY_PAIRS)} curves, got {len(self.curves)}"
            raise CoreError(msg)

    @classmethod
    def default(cls) -> Calibration:
        """Merge by the plain cosine: what is left when nothing is known."""
        plain = ScoreCurve(location=0.0, scale=1.0)
        return cls(source=CalibrationSource.DEFAULT, curves=dict.fromkeys(MODALITY_PAIRS, plain))

    def merge_scores(self, scores: ArrayLike, *, query: Modality, item: Modality) -> NDArray[np.float64]:
        """Return what candidates of both modalities are merged by, higher is better.

        Args:
            scores: Cosines between queries of modality `query` and items of modality `item`, any shape.
            query: Modality of the queries.
            item: Modality of the items.

        Returns:
            float64 of the same shape: log-odds of a match when fitted, standard deviations when estimated, the
            cosines themselves by default.
        """
        return self.curves[query, item].merge_score(scores)

    def mixed_scores(
        self, scores: ArrayLike, *, shares: Mapping[Modality, float], item: Modality
    ) -> NDArray[np.float64]:
        """Return `merge_scores` for a query that is made of both modalities: the mean of curves, which rises with them.

        Args:
            scores: Cosines with items of modality `item`, any shape.
            shares: Each modality's share of the query; they add up to 1.
            item: Modality of the items.
        """
        parts = (share * self.merge_scores(scores, query=modality, item=item) for modality, share in shares.items())
        return np.asarray(sum(parts))

    def probabilities(self, scores: ArrayLike, *, query: Modality, item: Modality) -> NDArray[np.float64] | None:
        """Return the probability that each pair matches, or None when no such curve was fitted.

        The probability holds for a candidate list like the one it was fitted on; see `fit_calibration`.
        """
        if self.source is not CalibrationSource.FITTED:
            return None
        logits = self.merge_scores(scores, query=query, item=item)
        return np.exp(-np.logaddexp(0.0, -logits))

    def pair_scores(self, to_text: ArrayLike, to_image: ArrayLike) -> NDArray[np.float64]:
        """Return the scores of (image, text) pairs, which `pairs` is a curve of: see `PairCurve`.

        Args:
            to_text: Cosines with the images as queries and the texts as items, any shape.
            to_image: Cosines of the same pairs with the texts as queries and the images as items.
        """
        forth = self.merge_scores(to_text, query=Modality.IMAGE, item=Modality.TEXT)
        back = self.merge_scores(to_image, query=Modality.TEXT, item=Modality.IMAGE)
        return 0.5 * (forth + back)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back to an equal calibration."""
        document: dict[str, Any] = {
            "source": self.source.value,
            "curves": {
                f"{query}_{item}": {
                    name: value for name, value in dataclasses.asdict(curve).items() if value is not None
                }
                for (query, item), curve in sorted(self.curves.items())
            },
        }
        if self.thresholds is not None:
            document["thresholds"] = self.thresholds.to_dict()
        if self.pairs is not None:
            document["pairs"] = self.pairs.to_dict()
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote.

        Raises:
            CoreError: A field is missing, unknown or malformed.
        """
        try:
            source = CalibrationSource(document["source"])
            curves = {
                (query, item): ScoreCurve(**{k: float(v) for k, v in document["curves"][f"{query}_{item}"].items()})
                for query, item in MODALITY_PAIRS
            }
            found = document.get("thresholds")
            thresholds = None if found is None else AcceptThresholds.from_dict(found)
            found = document.get("pairs")
            pairs = None if found is None else PairCurve.from_dict(found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            msg = "calibration: a field is missing, unknown or malformed"
            raise CoreError(msg) from error
        return cls(source=source, curves=curves, thresholds=thresholds, pairs=pairs)


def floor_scale(scale: float) -> float:
    """Keep a measured scale away from zero, where equal vectors would otherwise divide by it."""
    return max(scale, _SCALE_MIN)
