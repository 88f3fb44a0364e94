"""Estimate a calibration from a collection's own vectors, with no known matches but its pair keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration.calibration import (
    MODALITY_PAIRS,
    Calibration,
    CalibrationSource,
    ScoreCurve,
    floor_scale,
)
from isthmus.core.errors import ShapeError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality
from isthmus.core.sampling import keyed_sample

__all__ = ["SAMPLE_LIMIT", "SAMPLE_MINIMUM", "best_impostors", "calibration_sample", "estimate_calibration"]

SAMPLE_LIMIT: Final = 1_000
"""Vectors a modality that are looked at."""
SAMPLE_MINIMUM: Final = 64
"""Vectors a modality below which nothing is estimated."""


def calibration_sample(ids: Sequence[str], *, seed: int, limit: int = SAMPLE_LIMIT) -> NDArray[np.intp]:
    """Choose which items a calibration is estimated from.

    The choice depends on the set of ids and the seed, not on their order: a searcher that rebuilds, a second searcher
    and an evaluation all look at the same items.

    Args:
        ids: Ids of one modality's items, all different.
        seed: Seed of the choice.
        limit: How many to choose at most.

    Returns:
        (min(len(ids), limit),) positions in `ids`, ordered by the ids' keyed hash.
    """
    return keyed_sample(ids, seed=seed, limit=limit)


def estimate_calibration(
    image_vectors: NDArray[np.float32],
    text_vectors: NDArray[np.float32],
    *,
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    image_queries: NDArray[np.float32] | None = None,
    text_queries: NDArray[np.float32] | None = None,
) -> Calibration:
    """Estimate location and scale of each modality pair from impostors: best matches that are known to be none.

    For each sampled query the best-scoring item of another pair key is its best impostor; location and scale are the
    mean and standard deviation of its score over queries. Both modalities are cut to equal numbers first, because the
    best of many runs higher than the best of few.

    Args:
        image_vectors: (n, d) float32, rows unit-norm, aligned; n at most 1,000 (choose with `calibration_sample`).
        text_vectors: (m, d) float32, rows unit-norm, aligned; m at most 1,000.
        image_keys: n pair keys; None or empty where an item has none.
        text_keys: m pair keys.
        image_queries: (n, d) what the images look like as queries, where an aligner tells queries from items.
        text_queries: (m, d) what the texts look like as queries.

    Returns:
        An ESTIMATED calibration, or the DEFAULT one when either modality has fewer than 64 vectors.

    Raises:
        ShapeError: Lengths or dimensions do not agree, or a sample is over its limit.
    """
    if max(len(image_vectors), len(text_vectors)) > SAMPLE_LIMIT:
        msg = f"vectors: {max(len(image_vectors), len(text_vectors))} rows in a sample, at most {SAMPLE_LIMIT}"
        raise ShapeError(msg)
    if (len(image_vectors), len(text_vectors)) != (len(image_keys), len(text_keys)):
        msg = "pair_keys: need one for each vector"
        raise ShapeError(msg)
    count = min(len(image_vectors), len(text_vectors))
    if count < SAMPLE_MINIMUM:
        return Calibration.default()

    image_codes, text_codes = key_codes(image_keys, text_keys)
    items = {Modality.IMAGE: image_vectors[:count], Modality.TEXT: text_vectors[:count]}
    queries = {
        Modality.IMAGE: items[Modality.IMAGE] if image_queries is None else image_queries[:count],
        Modality.TEXT: items[Modality.TEXT] if text_queries is None else text_queries[:count],
    }
    codes = {Modality.IMAGE: image_codes[:count], Modality.TEXT: text_codes[:count]}
    curves: dict[tuple[Modality, Modality], ScoreCurve] = {}
    for query, item in MODALITY_PAIRS:
        best = best_impostors(
            queries[query], items[item], query_codes=codes[query], item_codes=codes[item], same=query is item
        )
        if len(best) < SAMPLE_MINIMUM:
            return Calibration.default()
        curves[query, item] = ScoreCurve(location=float(best.mean()), scale=floor_scale(float(best.std())))
    return Calibration(source=CalibrationSource.ESTIMATED, curves=curves)


def best_impostors(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    *,
    query_codes: NDArray[np.int64],
    item_codes: NDArray[np.int64],
    same: bool,
) -> NDArray[np.float64]:
    """Return each query's highest score among items that it does not match.

    Args:
        queries: (n, d) float32, rows unit-norm.
        items: (m, d) float32, rows unit-norm.
        query_codes: (n,) codes of pair keys; negative codes are all different.
        item_codes: (m,) codes of pair keys.
        same: True when queries and items are the same rows, so that none is its own impostor.

    Returns:
        (at most n,) float64; queries that have no impostor at all are left out.
    """
    scores = (queries @ items.T).astype(np.float64)
    scores[query_codes[:, None] == item_codes[None, :]] = -np.inf
    if same:
        np.fill_diagonal(scores, -np.inf)
    best: NDArray[np.float64] = scores.max(axis=1)
    return best[np.isfinite(best)]
