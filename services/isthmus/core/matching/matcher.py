"""Judge given (image, text) pairs: how probable each is, and whether to accept it at a chosen false-accept rate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import EVEN_PRIOR, Calibration, Impostor, PairCurve
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.matching.sides import Sides

__all__ = ["Decision", "MatchTerms", "PairMatches", "PairSides", "judge_pairs", "pair_curve"]


class Decision(StrEnum):
    """What to do with a pair."""

    MATCH = "match"
    """Its score is above the threshold of the chosen false-accept rate."""
    UNDECIDED = "undecided"
    """It looks like a weak match as much as like an impostor: for a person to look at."""
    NO_MATCH = "no_match"
    """It is not accepted, and a smaller share of matches than the chosen rate scores so low; where there were too few
    to tell, hardly any that was seen does."""


@dataclass(frozen=True, kw_only=True)
class MatchTerms:
    """What a caller chooses."""

    false_accept_rate: float = 0.01
    """Share of impostor pairs that is accepted, in (0, 1); as small a share of matches is refused outright."""
    impostor: Impostor = Impostor.SINGLE
    """What the rate is a share of: random impostors, or the best one of each image."""
    prior: float = EVEN_PRIOR
    """Share of the pairs that match, as far as the caller knows; moves probabilities, never decisions."""


@dataclass(frozen=True, kw_only=True)
class PairSides(Sides):
    """Rows of n pairs as they are compared, row i of one side with row i of the other.

    Raises:
        ShapeError: There are not as many rows of each kind.
    """

    def __post_init__(self) -> None:
        """Check the shapes."""
        kinds = (self.image_queries, self.image_items, self.text_queries, self.text_items)
        if any(rows.shape != kinds[0].shape for rows in kinds):
            msg = "pairs: need one image and one text for each"
            raise ShapeError(msg)

    def scores(self, calibration: Calibration) -> NDArray[np.float64]:
        """Return the (n,) scores of the pairs."""
        to_text = np.einsum("nk,nk->n", self.image_queries, self.text_items)
        to_image = np.einsum("nk,nk->n", self.text_queries, self.image_items)
        return calibration.pair_scores(to_text, to_image)


@dataclass(frozen=True, kw_only=True)
class PairMatches:
    """What was found of n pairs."""

    scores: NDArray[np.float64]
    """(n,) pair scores: log-odds among search candidates, mean of both directions."""
    probabilities: NDArray[np.float64]
    """(n,) in [0, 1], under the chosen prior."""
    decisions: tuple[Decision, ...]
    """n of them."""
    accept_above: float
    """Score above which a pair was accepted."""
    refuse_below: float
    """Score below which one that was not accepted was refused outright."""


def pair_curve(calibration: Calibration | None) -> PairCurve:
    """Return the curve that pairs are judged by.

    Raises:
        NotEnoughItemsError: The calibration was not fitted, or before pairs could be judged.
    """
    if calibration is None or calibration.pairs is None:
        msg = "calibration: has no curve for pairs; fit an aligner, or the method identity, to pairs of the collection"
        raise NotEnoughItemsError(msg)
    return calibration.pairs


def judge_pairs(sides: PairSides, calibration: Calibration, terms: MatchTerms | None = None) -> PairMatches:
    """Judge pairs by a fitted calibration.

    The false-accept rate is that of pairs which are like those that the calibration was fitted on, and not among those
    that the aligner was fitted on: `fit_calibrated` keeps them apart.

    Args:
        sides: The pairs.
        calibration: Of the aligner that made the rows.
        terms: What the caller chooses; None takes the defaults.

    Raises:
        NotEnoughItemsError: The calibration has no curve for pairs, or had too few pairs for that rate.
        OptionError: The rate or the prior is not between 0 and 1.
    """
    terms = terms or MatchTerms()
    curve = pair_curve(calibration)
    accept = curve.accept_above(terms.false_accept_rate, impostor=terms.impostor)
    refuse = min(curve.refuse_below(terms.false_accept_rate), accept)
    scores = sides.scores(calibration)
    return PairMatches(
        scores=scores,
        probabilities=curve.probabilities(scores, prior=terms.prior),
        decisions=tuple(_decided(score, accept=accept, refuse=refuse) for score in scores.tolist()),
        accept_above=accept,
        refuse_below=refuse,
    )


def _decided(score: float, *, accept: float, refuse: float) -> Decision:
    if score > accept:
        return Decision.MATCH
    return Decision.NO_MATCH if score < refuse else Decision.UNDECIDED
