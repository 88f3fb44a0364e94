"""Does THIS picture belong to THIS text? The curve and the thresholds that one pair by itself is judged by.

A search calibration answers "which of these": its probability counts on a list of candidates, most of them wrong. A
pair that somebody vouches for is another question, with another prior and other impostors. The pair's score is

    u = (merge score of the text for the image as query + merge score of the image for the text as query) / 2

the mean of the log-odds of both directions (a logarithmic opinion pool; one score where both are the same cosine). Then

    log-odds of a match = slope * u + intercept + log(prior / (1 - prior))

with slope and intercept by logistic regression (Platt 1999) of matches against random impostors, each side weighing as
much as the other, so that the prior is the caller's to say. Thresholds are split conformal (Vovk et al. 2005), from
three sets of scores:

- `single`: any image with any text of another pair key, what a mixed-up delivery looks like;
- `best`: an image with the best text of another pair key, what a near-identical item looks like. Holds against
  impostors picked from about as many texts as it was fitted with;
- matches: below which score a pair is refused with as small a rate of missed matches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.core.calibration.thresholds import (
    FALSE_ACCEPT_RATES,
    Impostor,
    conformal_thresholds,
    strictest_threshold,
)
from isthmus.core.errors import CoreError, NotEnoughItemsError, OptionError

__all__ = ["EVEN_PRIOR", "PairCurve", "fit_pair_curve"]

EVEN_PRIOR: Final = 0.5
"""As many of the pairs asked about match as do not."""

_IMPOSTORS_MAX: Final = 20_000
"""Random impostors that the curve is fitted on, evenly spaced quantiles of all of them."""
_SLOPE_MIN: Final = 0.01
_SIZE_MAX: Final = 1e6
_TOLERANCE: Final = 1e-7


@dataclass(frozen=True, kw_only=True)
class PairCurve:
    """What the score of one (image, text) pair says.

    Raises:
        CoreError: A number is not finite or of no moderate size, the slope is not positive, or thresholds are not
            ordered.
    """

    slope: float
    """Log-odds a unit of the pair's score, above 0."""
    intercept: float
    """Log-odds at a score of 0 and an even prior."""
    accept: Mapping[Impostor, tuple[float | None, ...]]
    """Score above which a pair is accepted, for each of FALSE_ACCEPT_RATES; None where impostors were too few."""
    refuse: tuple[float | None, ...]
    """Score below which a pair is refused, for as small a rate of missed matches."""

    def __post_init__(self) -> None:
        """Check that the line rises and that the thresholds are ordered."""
        if not all(math.isfinite(value) and abs(value) <= _SIZE_MAX for value in (self.slope, self.intercept)):
            msg = "pair curve: slope and intercept must be finite and of moderate size"
            raise CoreError(msg)
        if self.slope <= 0.0:
            msg = "pair curve: slope must be positive"
            raise CoreError(msg)
        if set(self.accept) != set(Impostor):
            msg = f"pair curve: needs thresholds for {len(Impostor)} kinds of impostor"
            raise CoreError(msg)
        for found, sign in [*((found, 1.0) for found in self.accept.values()), (self.refuse, -1.0)]:
            known = [sign * score for score in found if score is not None]
            if len(found) != len(FALSE_ACCEPT_RATES) or not all(math.isfinite(score) for score in known):
                msg = f"pair curve: needs {len(FALSE_ACCEPT_RATES)} finite thresholds of a kind"
                raise CoreError(msg)
            if known != sorted(known):
                msg = "pair curve: thresholds must grow stricter as the rate falls"
                raise CoreError(msg)

    def probabilities(self, scores: ArrayLike, *, prior: float = EVEN_PRIOR) -> NDArray[np.float64]:
        """Return the probability that each pair matches.

        Args:
            scores: Pair scores, any shape.
            prior: Share of the pairs asked about that match, above 0 and below 1.

        Raises:
            OptionError: The prior is not between 0 and 1.
        """
        if not 0.0 < prior < 1.0:
            msg = "prior: must be above 0 and below 1"
            raise OptionError(msg)
        logits = np.asarray(scores, dtype=np.float64) * self.slope + self.intercept + math.log(prior / (1.0 - prior))
        return np.exp(-np.logaddexp(0.0, -logits))

    def accept_above(self, rate: float, *, impostor: Impostor = Impostor.SINGLE) -> float:
        """Return the score above which a pair is accepted.

        Args:
            rate: Share of impostor pairs that is accepted, above 0 and below 1. Between two of FALSE_ACCEPT_RATES the
                stricter one holds.
            impostor: What is falsely accepted: a random other text, or the best other text.

        Raises:
            OptionError: The rate is not between 0 and 1.
            NotEnoughItemsError: The impostors were too few for that rate.
        """
        return strictest_threshold(self.accept[impostor], rate)

    def refuse_below(self, rate: float) -> float:
        """Return the score below which a pair is refused: of matches a share of at most `rate` lies there.

        Where the matches were too few for that rate, it is that of the smallest rate they were enough for: hardly any
        match that was seen lies below.

        Raises:
            OptionError: The rate is not between 0 and 1.
        """
        try:
            return strictest_threshold(self.refuse, rate)
        except NotEnoughItemsError:
            return min((score for score in self.refuse if score is not None), default=-math.inf)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        document = asdict(self)
        document["accept"] = {kind.value: list(found) for kind, found in self.accept.items()}
        document["refuse"] = list(self.refuse)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PairCurve:
        """Read what `to_dict` wrote.

        Raises:
            CoreError: A field is missing or malformed.
        """
        try:
            return cls(
                slope=float(document["slope"]),
                intercept=float(document["intercept"]),
                accept={Impostor(kind): _numbers(found) for kind, found in document["accept"].items()},
                refuse=_numbers(document["refuse"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            msg = "pair curve: a field is missing or malformed"
            raise CoreError(msg) from error


def fit_pair_curve(
    matches: NDArray[np.float64], strangers: NDArray[np.float64], best_strangers: NDArray[np.float64]
) -> PairCurve:
    """Fit a curve and its thresholds to pair scores that the aligner was not fitted on.

    Args:
        matches: (n,) scores of pairs that belong together.
        strangers: (m,) scores of random pairs that do not.
        best_strangers: (k,) the score of each image with the best text that is not its own.

    Raises:
        NotEnoughItemsError: There are no matches or no impostors.
    """
    if not (len(matches) and len(strangers) and len(best_strangers)):
        msg = f"pairs: {len(matches)} matches and {len(strangers)} impostors to fit a pair curve on, at least 1 of each"
        raise NotEnoughItemsError(msg)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second of import that no searcher needs

    ordered = np.sort(strangers)
    ordered = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), _IMPOSTORS_MAX)).astype(np.intp)]
    scores = np.concatenate([matches, ordered])
    belongs = np.arange(len(scores)) < len(matches)
    fitted = LogisticRegression(tol=_TOLERANCE, class_weight="balanced").fit(scores[:, None], belongs)
    return PairCurve(
        slope=max(float(fitted.coef_[0, 0]), _SLOPE_MIN),
        intercept=float(fitted.intercept_[0]),
        accept={
            Impostor.SINGLE: conformal_thresholds(strangers),
            Impostor.BEST: conformal_thresholds(best_strangers),
        },
        refuse=tuple(None if score is None else -score for score in conformal_thresholds(-matches)),
    )


def _numbers(found: list[Any]) -> tuple[float | None, ...]:
    return tuple(None if score is None else float(score) for score in found)
