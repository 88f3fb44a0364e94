"""A bounded sample of the queries that a collection was asked, the last ones more likely than old ones.

Raw vectors in memory and nothing else: no text, no image, no caller; nothing of it is written or told.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUERIES_MAX_COUNT", "Reservoir"]

QUERIES_MAX_COUNT: Final = 200
"""Queries that are kept: 200 KiB at 512 components."""
_MEMORY_FACTOR: Final = 10
"""A query that is kept was one of about so many times as many last ones."""


class Reservoir:
    """Up to QUERIES_MAX_COUNT queries of one modality.

    Each that is offered is kept with a chance that is 1 at first and never falls below a tenth, in the place of a
    random one: a reservoir that forgets (Aggarwal 2006, "On Biased Reservoir Sampling in the Presence of Stream
    Evolution"; that it is uniform up to ten times its size is ours).

    Args:
        dimension: Of the raw space.
        seed: Of the choice.
    """

    def __init__(self, dimension: int, *, seed: int = 0) -> None:
        self._rows = np.empty((0, dimension), dtype=np.float16)
        self._offered = 0
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return how many queries are kept."""
        return len(self._rows)

    @property
    def offered(self) -> int:
        """Queries that were offered."""
        return self._offered

    def offer(self, queries: NDArray[np.float32]) -> None:
        """Look at queries, (n, d) float32; what is kept is copied, rounded as the store rounds items."""
        for row in queries:
            self._offered += 1
            if len(self._rows) < QUERIES_MAX_COUNT:
                self._rows = np.vstack([self._rows, row.astype(np.float16)[None]])
                continue
            place = int(self._rng.integers(min(self._offered, _MEMORY_FACTOR * QUERIES_MAX_COUNT)))
            if place < QUERIES_MAX_COUNT:
                self._rows[place] = row

    def queries(self, limit: int) -> NDArray[np.float32]:
        """Return up to `limit` of them, (n, d) float32, a copy."""
        chosen = self._rng.permutation(len(self._rows))[:limit]
        return self._rows[chosen].astype(np.float32)
