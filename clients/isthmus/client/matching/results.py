"""What calls about pairs return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.client.results import Calibration, ItemError, Timings

__all__ = ["AuditSummary", "AuditedPair", "Decision", "MatchResult", "PairMatch"]

Decision = Literal["match", "undecided", "no_match"]
"""Accepted; for a person to look at; refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMatch:
    """What was found of one pair."""

    index: int
    """Its position among all pairs of the call, from 0."""
    score: float
    """Calibrated score: the mean log-odds of both directions among search candidates."""
    probability: float
    """Probability that the two belong together, in [0, 1], under the chosen prior."""
    decision: Decision
    """What to do with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchResult:
    """What was found of given pairs."""

    matches: tuple[PairMatch, ...]
    """Those that could be judged, in the order given."""
    errors: tuple[ItemError, ...]
    """One for each that could not."""
    accept_above: float
    """Score above which a pair was accepted; NaN when no pair was sent."""
    refuse_below: float
    """Score below which a pair was refused; NaN likewise."""
    truncated: tuple[int, ...]
    """Positions of pairs whose text was cut to the model's context."""
    aligner: str
    """The aligner that was used; empty when there was none."""
    calibration: Calibration
    """Where the calibration comes from."""
    space: str
    """The space that pairs were compared in."""
    revision: int
    """Revision of the collection."""
    timings: Timings
    """Sums over the messages it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """What an audit found of all pairs together."""

    pairs: int
    """Pairs of an image and a text that share a pair key."""
    image_count: int
    """Images that were compared."""
    text_count: int
    """Texts that were compared."""
    wrong_share: float
    """Expected share of pairs that do not belong together, in [0, 1]."""
    decided: bool
    """True when the aligner has a curve for pairs, so that there are decisions."""
    match_count: int
    """Pairs that a match accepts at the chosen terms."""
    undecided_count: int
    """Pairs that it leaves undecided."""
    no_match_count: int
    """Pairs that it refuses."""
    aligner: str
    """The aligner in whose space pairs were compared; empty for the raw space."""
    revision: int
    """Revision of the collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedPair:
    """A pair of a collection, audited."""

    image_id: str
    """Id of the image."""
    text_id: str
    """Id of the text."""
    pair_key: str
    """Their pair key."""
    probability: float
    """Probability that they belong together, in [0, 1], from the collection itself."""
    log_odds: float
    """The same as log-odds: what pairs are ordered by."""
    cosine: float
    """Their cosine in the space that was audited."""
    nearest_image_id: str
    """The image of another pair key that the text is nearest to; empty for none."""
    nearest_text_id: str
    """The text of another pair key that the image is nearest to; empty for none."""
    decision: Decision | None
    """What a match at the chosen terms says; None without a curve for pairs."""
    match_probability: float | None
    """Probability that a match gives the pair; None likewise."""
