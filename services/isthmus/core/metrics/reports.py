"""What the retrieval protocol reports; every figure is a fraction in [0, 1]."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MixedRetrieval", "RecallAt", "RetrievalReport"]

_CROSS_DEPTHS: Final = (1, 5, 10)
_MIXED_DEPTHS: Final = (1, 10, 20)


def _share_within(ranks: NDArray[np.float64], depth: int) -> float:
    """Return the share of 0-based ranks below `depth`; 0 when there are none."""
    return float((ranks < depth).mean()) if len(ranks) else 0.0


def _mean(values: NDArray[np.float64]) -> float:
    # A mean of figures in [0, 1] can leave that interval by a rounding error.
    return float(np.clip(values.mean(), 0.0, 1.0)) if len(values) else 0.0


@dataclass(frozen=True, kw_only=True)
class RecallAt:
    """Shares of queries whose best match is among the first 1, 5 and 10 answers of the other modality."""

    r1: float
    r5: float
    r10: float

    @classmethod
    def of(cls, ranks: NDArray[np.float64]) -> RecallAt:
        """Summarise (n,) 0-based ranks of the best match, one a query."""
        r1, r5, r10 = (_share_within(ranks, depth) for depth in _CROSS_DEPTHS)
        return cls(r1=r1, r5=r5, r10=r10)


@dataclass(frozen=True, kw_only=True)
class MixedRetrieval:
    """Retrieval over images and texts together, for queries of one modality."""

    r1: float
    """Share of queries with a match of the other modality ranked first, own-modality siblings left out."""
    r10: float
    """The same within the first 10."""
    r20: float
    """The same within the first 20."""
    ndcg10: float
    """Mean nDCG at 10; every other item of the query's pair key is relevant with gain 1."""
    own_share: float
    """Mean share of the query's own modality in the first 10, siblings included."""

    @classmethod
    def of(
        cls, ranks: NDArray[np.float64], *, ndcg10: NDArray[np.float64], own_share: NDArray[np.float64]
    ) -> MixedRetrieval:
        """Summarise three (n,) arrays, one value a query."""
        r1, r10, r20 = (_share_within(ranks, depth) for depth in _MIXED_DEPTHS)
        return cls(r1=r1, r10=r10, r20=r20, ndcg10=_mean(ndcg10), own_share=_mean(own_share))


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """The whole retrieval protocol over one set of items."""

    pair_count: int
    """Distinct pair keys with items of both modalities that were judged."""
    image_query_count: int
    """Image queries."""
    text_query_count: int
    """Text queries."""
    t2i: RecallAt
    """Text query, image answers."""
    i2t: RecallAt
    """Image query, text answers."""
    mixed_image_query: MixedRetrieval
    """Image query, answers of both modalities."""
    mixed_text_query: MixedRetrieval
    """Text query, answers of both modalities."""

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of every `--json` answer: `n`, `recall.t2i`, `recall.i2t`, `mixed.image_query`, …."""
        return {
            "n": self.pair_count,
            "recall": {"t2i": asdict(self.t2i), "i2t": asdict(self.i2t)},
            "mixed": {"image_query": asdict(self.mixed_image_query), "text_query": asdict(self.mixed_text_query)},
        }
