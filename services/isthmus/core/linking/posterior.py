"""How probable each possible link is, given that an item has one match at most.

A pair's own odds say how it looks by itself. With several candidates they compete: two that look equally good cannot
both be right. For links e with odds o_e, of which no two may share an item, P(set) is proportional to the product of
the set's odds (a monomer-dimer model). Its marginals by belief propagation (after Zdeborová and Mézard 2006, "The
number of matchings in random graphs"):

    a_e = 1 / (1 + sum of o_f b_f over the other links f of e's image)
    b_e = 1 / (1 + sum of o_f a_f over the other links f of e's text)
    P(e) = o_e a_e b_e / (1 + o_e a_e b_e)

exact on trees, and on other graphs near to it. Where only one side's items are unique, as with five captions of one
photo, the candidates of one text compete with one another alone, and exactly: P(e) = o_e / (1 + sum of o_f over all
links f of e's text).

How many of all pairs match is not known from a pair: all odds have one common factor, chosen so that the probabilities
add up to the expected number of links. (A reconstruction.)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint

__all__ = ["one_sided", "two_sided"]

_ROUNDS_MAX: Final = 500
_TOLERANCE: Final = 1e-5
_GAIN: Final = 0.3
"""How far the common factor goes in one round towards where it is thought to belong: at .5 it begins to swing."""
_LOG_ODDS_MAX: Final = 25.0
"""Beyond it sums of odds would lose what is subtracted from them."""
_HALVINGS: Final = 60
_SHARE_MAX: Final = 1.0 - 1e-9


def one_sided(
    log_odds: NDArray[np.float64], owners: NDArray[np.intp], *, expected: float | None = None
) -> NDArray[np.float64]:
    """Return the probability of each link when each owner has one match at most.

    Args:
        log_odds: (e,) of each link by itself.
        owners: (e,) the item, of the side that has one match, that each link is of.
        expected: Number of links that the probabilities add up to, as near as the candidates allow; None takes the odds
            as they are.
    """
    shift, step = 0.0, _LOG_ODDS_MAX
    if expected is not None:
        # What the probabilities add up to rises with the shift.
        for _ in range(_HALVINGS):
            shift += step if _alone(log_odds + shift, owners).sum() < expected else -step
            step /= 2.0
    return _alone(log_odds + shift, owners)


def two_sided(
    log_odds: NDArray[np.float64],
    images: NDArray[np.intp],
    texts: NDArray[np.intp],
    *,
    expected: float | None = None,
) -> NDArray[np.float64]:
    """Return the probability of each link when each image and each text has one match at most.

    Args:
        log_odds: (e,) of each link by itself.
        images: (e,) row of its image.
        texts: (e,) row of its text.
        expected: Number of links that the probabilities add up to, as near as the candidates allow; None takes the odds
            as they are.

    Returns:
        (e,) in [0, 1]; over the links of one item they add up to 1 at most, within the tolerance of 1e-5.
    """
    most = min(len(np.unique(images)), len(np.unique(texts)))
    to_text = np.ones_like(log_odds)
    to_image = np.ones_like(log_odds)
    shift = 0.0
    for _ in range(_ROUNDS_MAX):
        checkpoint()
        odds = _odds(log_odds + shift)
        before, shift_before = to_text, shift
        to_text = _freedom(odds * to_image, images)
        to_image = _freedom(odds * to_text, texts)
        if expected is not None:
            found = float(_marginals(odds, to_text, to_image).sum())
            shift += _GAIN * (_logit(expected / most) - _logit(found / most))
            shift = min(max(shift, -2 * _LOG_ODDS_MAX), 2 * _LOG_ODDS_MAX)
        if max(np.abs(to_text - before).max(initial=0.0), abs(shift - shift_before)) < _TOLERANCE:
            break
    return _marginals(_odds(log_odds + shift), to_text, to_image)


def _alone(log_odds: NDArray[np.float64], owners: NDArray[np.intp]) -> NDArray[np.float64]:
    odds = _odds(log_odds)
    alone: NDArray[np.float64] = odds / (1.0 + np.bincount(owners, weights=odds)[owners])
    return alone


def _odds(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(np.clip(log_odds, -_LOG_ODDS_MAX, _LOG_ODDS_MAX))


def _marginals(
    odds: NDArray[np.float64], to_text: NDArray[np.float64], to_image: NDArray[np.float64]
) -> NDArray[np.float64]:
    joint = odds * to_text * to_image
    marginals: NDArray[np.float64] = joint / (1.0 + joint)
    return marginals


def _freedom(pull: NDArray[np.float64], owners: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return, for each link, the probability that its owner is left free by its other links."""
    others = np.bincount(owners, weights=pull)[owners] - pull
    free: NDArray[np.float64] = 1.0 / (1.0 + np.maximum(others, 0.0))
    return free


def _logit(share: float) -> float:
    share = min(max(share, 1.0 - _SHARE_MAX), _SHARE_MAX)
    return math.log(share / (1.0 - share))
