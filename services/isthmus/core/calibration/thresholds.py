"""When to say "no such item": thresholds for a stated rate of false accepts.

Two questions, two thresholds, both on the merge score and both from impostors that the calibration was fitted with:

- `best`: a query that has no match among the items is answered nonetheless. From each query's best impostor.
- `single`: one image and one text that do not belong together are taken for a match. From all impostor pairs.

For n impostors and a rate a the threshold is the ceil((n + 1)(1 - a))-th smallest score, and what is above it is
accepted: for exchangeable impostors the rate is then at most a, whatever their distribution (split conformal, Vovk et
al. 2005). `best` holds for collections of about the size it was fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import CoreError, NotEnoughItemsError, OptionError
from isthmus.core.modality import Modality

__all__ = ["FALSE_ACCEPT_RATES", "AcceptThresholds", "Impostor", "conformal_thresholds", "strictest_threshold"]

FALSE_ACCEPT_RATES: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Rates that thresholds are kept for; between two of them the stricter one holds."""


class Impostor(StrEnum):
    """What is falsely accepted."""

    BEST = "best"
    """The best answer to a query that has no match."""
    SINGLE = "single"
    """One image and one text that do not belong together."""


@dataclass(frozen=True, kw_only=True)
class AcceptThresholds:
    """Merge scores above which an answer is accepted, by kind of impostor and (query modality, item modality)."""

    scores: Mapping[tuple[Impostor, Modality, Modality], tuple[float | None, ...]]
    """One for each of FALSE_ACCEPT_RATES; None where the impostors were too few for that rate."""

    def __post_init__(self) -> None:
        """Check that the thresholds rise as the rates fall.

        Raises:
            CoreError: They do not, or one is not finite.
        """
        for found in self.scores.values():
            known = [score for score in found if score is not None]
            if len(found) != len(FALSE_ACCEPT_RATES) or not all(math.isfinite(score) for score in known):
                msg = f"calibration: needs {len(FALSE_ACCEPT_RATES)} finite thresholds a modality pair"
                raise CoreError(msg)
            if known != sorted(known):
                msg = "calibration: thresholds must rise as the false-accept rate falls"
                raise CoreError(msg)

    def threshold(self, rate: float, *, query: Modality, item: Modality, impostor: Impostor = Impostor.BEST) -> float:
        """Return the merge score above which an answer is accepted.

        Args:
            rate: Accepted share of what should be refused, above 0 and below 1.
            query: Modality of the query.
            item: Modality of the items.
            impostor: What is falsely accepted.

        Raises:
            OptionError: The rate is not between 0 and 1.
            NotEnoughItemsError: The impostors were too few for that rate.
        """
        return strictest_threshold(self.scores.get((impostor, query, item), ()), rate)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return {f"{impostor}_{query}_{item}": list(found) for (impostor, query, item), found in self.scores.items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> AcceptThresholds:
        """Read what `to_dict` wrote.

        Raises:
            CoreError: A field is unknown or malformed.
        """
        scores = {}
        for name, found in document.items():
            try:
                impostor, query, item = name.split("_")
                numbers = tuple(None if score is None else float(score) for score in found)
                scores[Impostor(impostor), Modality(query), Modality(item)] = numbers
            except (TypeError, ValueError) as error:
                msg = "calibration: a threshold is malformed"
                raise CoreError(msg) from error
        return cls(scores=scores)


def conformal_thresholds(impostors: NDArray[np.float64]) -> tuple[float | None, ...]:
    """Return the threshold of each of FALSE_ACCEPT_RATES for (n,) impostor scores, None where n is too small."""
    ordered = np.sort(impostors)
    places = [math.ceil((len(ordered) + 1) * (1.0 - rate)) for rate in FALSE_ACCEPT_RATES]
    return tuple(float(ordered[place - 1]) if 1 <= place <= len(ordered) else None for place in places)


def strictest_threshold(found: Sequence[float | None], rate: float) -> float:
    """Return the threshold of the greatest kept rate that is at most `rate`.

    Args:
        found: One for each of FALSE_ACCEPT_RATES; None where there were too few scores for that rate.
        rate: Above 0 and below 1.

    Raises:
        OptionError: The rate is not between 0 and 1.
        NotEnoughItemsError: There were too few scores for that rate, or it is below all kept ones.
    """
    if not 0.0 < rate < 1.0:
        msg = "false-accept rate: must be above 0 and below 1"
        raise OptionError(msg)
    for kept, score in zip(FALSE_ACCEPT_RATES, found, strict=False):
        if kept <= rate and score is not None:
            return score
    msg = f"false-accept rate: {rate:g} needs at least {math.ceil(1.0 / rate)} impostors; calibrate on more pairs"
    raise NotEnoughItemsError(msg)
