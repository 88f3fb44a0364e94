"""One query made of several weighted examples of either modality.

Examples are aligned first, for only there do two modalities meet. With unit vectors u_i and weights w_i, negative where
answers should be unlike the example, the query is

    q = sum_i w_i u_i / || sum_i w_i u_i ||

(Rocchio 1971, relevance feedback, without an original query.) What depends on the modality of a query, the calibration
of a merge and the coordinates of a hubness correction, is that of each modality, weighted with its share of all |w_i|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["ExampleVectors", "combined_query"]

_NORM_MIN: Final = 1e-3
"""Of the weighted mean: below, what is left of the direction is mostly the rounding of float16 values."""


@dataclass(frozen=True, slots=True)
class ExampleVectors:
    """Examples of one modality and one raw space.

    Attributes:
        modality: What they were made from.
        space: Their raw space.
        rows: (n, d) float32 raw embeddings, n at least 1.
        weights: (n,) float64, finite, none of them 0; negative where answers should be unlike the example.
    """

    modality: Modality
    space: str
    rows: NDArray[np.float32]
    weights: NDArray[np.float64]


def combined_query(
    snapshot: Snapshot, examples: Sequence[ExampleVectors]
) -> tuple[NDArray[np.float32], Mapping[Modality, float]]:
    """Return what the structures are asked with, (1, k) float32, and each modality's share of the weights.

    Args:
        snapshot: Whose aligner joins them.
        examples: Of the collection's raw spaces; of one modality where nothing joins them.

    Raises:
        InvalidArgumentError: INVALID_FIELD; the examples cancel one another.
    """
    aligned = [
        batch.rows if snapshot.aligner is None else snapshot.aligner.align(batch.rows, batch.modality)
        for batch in examples
    ]
    rows = np.concatenate(aligned).astype(np.float64)
    weights = np.concatenate([batch.weights for batch in examples])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    total = float(np.abs(weights).sum())
    mean = (weights / total) @ rows
    norm = float(np.linalg.norm(mean))
    if norm < _NORM_MIN:
        msg = "the examples cancel one another: nothing is left to look for; change their weights"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "examples"})
    query = np.asarray(mean / norm, dtype=np.float32)[None]
    shares: dict[Modality, float] = {}
    for batch in examples:
        share = float(np.abs(batch.weights).sum()) / total
        shares[batch.modality] = shares.get(batch.modality, 0.0) + share
    if snapshot.aligner is None:
        return query, shares
    asked = sum(share * snapshot.aligner.asked_rows(query, modality) for modality, share in shares.items())
    return np.asarray(asked, dtype=np.float32), shares
