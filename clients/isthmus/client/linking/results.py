"""What a proposal of links returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Link", "LinkProposal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One image and one text that may belong together."""

    image_id: str
    """Id of the image."""
    text_id: str
    """Id of the text."""
    probability: float
    """Probability that they belong together, given that an item has one match at most, in [0, 1]."""
    score: float
    """Score of the pair by itself: mean log-odds of both directions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkProposal:
    """Links between items without a pair key."""

    links: tuple[Link, ...]
    """The most probable first."""
    image_count: int
    """Images without a pair key."""
    text_count: int
    """Texts without a pair key."""
    accept_above: float | None
    """Score that all links are above; None without a false-accept rate."""
    aligner: str
    """The aligner that they were compared with."""
    revision: int
    """Revision of the collection."""
