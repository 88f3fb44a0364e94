"""Propose which image and which text belong together, where nobody has said so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, Impostor
from isthmus.core.errors import NotEnoughItemsError, OptionError
from isthmus.core.linking.assignment import assign
from isthmus.core.linking.candidates import CANDIDATES, CandidateGraph, LinkSides, candidate_graph
from isthmus.core.linking.posterior import one_sided, two_sided
from isthmus.core.matching import pair_curve

__all__ = ["EXPECTED_SHARE", "LinkMode", "LinkTerms", "ProposedLinks", "propose_links"]

EXPECTED_SHARE: Final = 0.9
"""Whoever asks for links expects most items to have one."""

_SCORED_SHARE: Final = 0.8
"""Share of the work that scoring stands for."""
_TIE_BREAK: Final = 1e-9
"""What a log-odd counts for beside a probability: it decides between links that are as good as impossible."""


class LinkMode(StrEnum):
    """Which links may stand beside one another."""

    ONE_TO_ONE = "one_to_one"
    """No image and no text is in two links: as many links as possible, and of those the most expected right ones."""
    BEST_IMAGE = "best_image"
    """Each text is linked to its best image, whatever other texts that image has."""
    BEST_TEXT = "best_text"
    """Each image is linked to its best text, whatever other images that text has."""


@dataclass(frozen=True, kw_only=True)
class LinkTerms:
    """What a caller chooses.

    Raises:
        OptionError: A number is out of its bounds.
    """

    mode: LinkMode = LinkMode.ONE_TO_ONE
    false_accept_rate: float | None = None
    """Leave an item without a link rather than link more than this share of those that have no match, in (0, 1); None
    proposes a link for all that can have one."""
    expected_share: float = EXPECTED_SHARE
    """Share of the items that have a match, of the modality that has fewer, or whose best counterparts are asked for:
    what probabilities add up to. In (0, 1)."""
    candidate_count: int = CANDIDATES
    """Items of the other modality that are looked at for each item, at least 1."""

    def __post_init__(self) -> None:
        """Check the bounds; the rate is checked where thresholds are looked up."""
        if not 0.0 < self.expected_share < 1.0:
            msg = "expected share: must be above 0 and below 1"
            raise OptionError(msg)
        if self.candidate_count < 1:
            msg = "candidates: must be at least 1"
            raise OptionError(msg)


@dataclass(frozen=True, kw_only=True)
class ProposedLinks:
    """Links, the most probable first; equally probable ones in order of their rows."""

    images: NDArray[np.intp]
    """(l,) row of the image."""
    texts: NDArray[np.intp]
    """(l,) row of the text."""
    probabilities: NDArray[np.float64]
    """(l,) probability that the two belong together, given that an item has one match at most, in [0, 1]."""
    scores: NDArray[np.float64]
    """(l,) pair scores."""
    accept_above: float | None
    """Score that all links are above; None without a false-accept rate."""


def propose_links(
    sides: LinkSides,
    calibration: Calibration | None,
    terms: LinkTerms | None = None,
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> ProposedLinks:
    """Link images and texts of which it is not known who belongs to whom.

    Memory is bounded by the candidates, `candidate_count` an item, and one block of 4 million scores. Links do not
    depend on the order of the items, but for items that cannot be told apart.

    Args:
        sides: The items.
        calibration: Of the aligner that made the rows, fitted on other pairs.
        terms: What the caller chooses; None takes the defaults.
        progress: Told the share of the work that is done, in (0, 1].

    Raises:
        NotEnoughItemsError: A modality has no item; the calibration has no curve for pairs, or had too few pairs for
            that rate.
        OptionError: The rate is not between 0 and 1.
    """
    terms = terms or LinkTerms()
    image_count, text_count = len(sides.image_items), len(sides.text_items)
    if not (image_count and text_count):
        msg = f"items: {image_count} images and {text_count} texts to link; links need some of both"
        raise NotEnoughItemsError(msg)
    curve = pair_curve(calibration)
    assert calibration is not None  # pair_curve refuses None
    accept = None
    if terms.false_accept_rate is not None:
        accept = curve.accept_above(terms.false_accept_rate, impostor=Impostor.BEST)
    graph = candidate_graph(
        sides,
        calibration,
        count=terms.candidate_count,
        progress=lambda share: progress(_SCORED_SHARE * share),
    )
    probabilities = _probabilities(graph, terms)
    scores = sides.pair_scores(graph.images, graph.texts, calibration)
    allowed = np.arange(len(scores)) if accept is None else np.flatnonzero(scores > accept)
    chosen = allowed[_chosen(graph.subset(allowed), probabilities[allowed], terms.mode)]
    ordered = chosen[np.lexsort((graph.texts[chosen], graph.images[chosen], -probabilities[chosen]))]
    progress(1.0)
    return ProposedLinks(
        images=graph.images[ordered],
        texts=graph.texts[ordered],
        probabilities=probabilities[ordered],
        scores=scores[ordered],
        accept_above=accept,
    )


def _chosen(graph: CandidateGraph, probabilities: NDArray[np.float64], mode: LinkMode) -> NDArray[np.intp]:
    """Return the places of the links that may stand beside one another."""
    if mode is LinkMode.ONE_TO_ONE:
        return assign(graph.images, graph.texts, probabilities + _TIE_BREAK * graph.log_odds)
    owners, others = (graph.texts, graph.images) if mode is LinkMode.BEST_IMAGE else (graph.images, graph.texts)
    order = np.lexsort((others, -graph.log_odds, owners))
    _, first = np.unique(owners[order], return_index=True)
    return np.sort(order[first])


def _probabilities(graph: CandidateGraph, terms: LinkTerms) -> NDArray[np.float64]:
    """Return the probability of each candidate beside all others."""
    if terms.mode is LinkMode.ONE_TO_ONE:
        expected = terms.expected_share * min(graph.image_count, graph.text_count)
        return two_sided(graph.log_odds, graph.images, graph.texts, expected=expected)
    if terms.mode is LinkMode.BEST_IMAGE:
        return one_sided(graph.log_odds, graph.texts, expected=terms.expected_share * graph.text_count)
    return one_sided(graph.log_odds, graph.images, expected=terms.expected_share * graph.image_count)
