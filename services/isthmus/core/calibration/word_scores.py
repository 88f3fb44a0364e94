"""How high BM25 goes by chance: location and scale of the best impostor's score, for one query in one collection.

Under the independence that BM25 stands on, its score is the log of how much likelier a relevant text is to hold the
words than another one (Robertson & Zaragoza 2009, section 3.1). So one of N texts scores above s by chance with
probability exp(-s), and the best of N has a Gumbel distribution with mode ln N and scale 1: that is what a few words
give.

Words of a sentence come together, so whole sentences score higher by chance than that. How high shows in the query's
own scores: with an exponential tail the one of rank r lies at mode - scale ln r. A line through the ranks from 16 to
128, beyond whatever really matches, gives both; each counts where it says more than independence does. (A
reconstruction: the "per-query tail" of docs/methods.md, for words)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["WordScores"]

_FIRST_RANK: Final = 16
_LAST_RANK: Final = 128
_RANKS_MIN_COUNT: Final = 16
"""Ranks below which a line says little."""
_GUMBEL_MEAN: Final = 0.5772156649015329
_GUMBEL_SCALE: Final = math.pi / math.sqrt(6)


@dataclass(frozen=True, slots=True)
class WordScores:
    """The distribution of the best impostor's score.

    Attributes:
        mode: Its most frequent value.
        scale: Of the Gumbel distribution, at least 1.
    """

    mode: float
    scale: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], texts: int) -> WordScores:
        """Estimate it from what a query scored.

        Args:
            scores: (n,) of every text that holds at least one of the words, in any order.
            texts: N, all texts, at least n.
        """
        mode, scale = math.log(max(1, texts)), 1.0
        if len(scores) >= _FIRST_RANK + _RANKS_MIN_COUNT:
            last = min(_LAST_RANK, len(scores))
            best = -np.sort(-np.partition(scores, len(scores) - last)[len(scores) - last :])
            ranks = np.log(np.arange(_FIRST_RANK, last + 1))
            slope, at_first = np.polyfit(ranks, best[_FIRST_RANK - 1 :], 1)
            mode, scale = max(mode, float(at_first)), max(scale, -float(slope))
        return cls(mode, scale)

    def z(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many standard deviations scores lie above the mean of the best impostor."""
        return (scores - (self.mode + _GUMBEL_MEAN * self.scale)) / (_GUMBEL_SCALE * self.scale)
