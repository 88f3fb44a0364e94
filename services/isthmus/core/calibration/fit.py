"""Fit a calibration, with match probabilities, to pairs that the aligner has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from isthmus.core.calibration.estimate import SAMPLE_MINIMUM, best_impostors
from isthmus.core.calibration.pair_curve import fit_pair_curve
from isthmus.core.calibration.thresholds import AcceptThresholds, Impostor, conformal_thresholds
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality

__all__ = ["FIT_LIMIT", "fit_calibration"]

FIT_LIMIT: Final = 8_192
"""Vectors a modality that a fit looks at."""

_CANDIDATES: Final = 200
"""Best-scoring items a query that its curve is fitted on: the merge never decides about the rest."""
_MATCHES_MINIMUM: Final = 32
"""Matches below which a modality pair has no curve of its own."""
_TAIL: Final = 0.5
"""Beyond the best impostor a score counts by its logarithm: own-modality outliers, near-duplicates, are no surprise."""
_STRANGER_ROWS: Final = 1_000
_SLOPE_MIN: Final = 0.01
_TOLERANCE: Final = 1e-7
_BLOCK_ROWS: Final = 256


def fit_calibration(
    image_vectors: NDArray[np.float32],
    text_vectors: NDArray[np.float32],
    *,
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    image_queries: NDArray[np.float32] | None = None,
    text_queries: NDArray[np.float32] | None = None,
) -> Calibration:
    """Fit location, scale and match probability of each modality pair.

    Location and scale are those of the best impostor, as in `estimate_calibration`. The probability is a logistic
    curve in z (Platt 1999) over each query's best 200 candidates, matches against impostors, prior included: of the
    modality that holds more of the matches, more is shown. A modality pair without matches of its own (photos of which
    each was taken once) borrows the curve of its query modality's other pair: an item that stands out as much among
    its kind counts as much.

    Args:
        image_vectors: (n, d) float32, rows unit-norm, aligned; n from 64 to 8,192.
        text_vectors: (m, d) float32, rows unit-norm, aligned; m from 64 to 8,192.
        image_keys: n pair keys; None or empty where an item has none.
        text_keys: m pair keys.
        image_queries: (n, d) what the images look like as queries, where an aligner tells queries from items.
        text_queries: (m, d) what the texts look like as queries.

    Returns:
        A FITTED calibration, with the thresholds for saying "no such item" and the curve that a pair by itself is
        judged by.

    Raises:
        ShapeError: Lengths do not agree, or there are too many vectors.
        NotEnoughItemsError: There are too few vectors, impostors, or matches across the modalities.
    """
    if (len(image_vectors), len(text_vectors)) != (len(image_keys), len(text_keys)):
        msg = "pair_keys: need one for each vector"
        raise ShapeError(msg)
    if max(len(image_vectors), len(text_vectors)) > FIT_LIMIT:
        msg = f"vectors: {max(len(image_vectors), len(text_vectors))} rows to calibrate on, at most {FIT_LIMIT}"
        raise ShapeError(msg)
    if (count := min(len(image_vectors), len(text_vectors))) < SAMPLE_MINIMUM:
        msg = f"vectors: {count} of a modality to calibrate on, at least {SAMPLE_MINIMUM}"
        raise NotEnoughItemsError(msg)

    image_codes, text_codes = key_codes(image_keys, text_keys)
    sides = _Sides(
        queries={
            Modality.IMAGE: image_vectors if image_queries is None else image_queries,
            Modality.TEXT: text_vectors if text_queries is None else text_queries,
        },
        items={Modality.IMAGE: image_vectors, Modality.TEXT: text_vectors},
        codes={Modality.IMAGE: image_codes, Modality.TEXT: text_codes},
    )
    best = {pair: _best_impostors(*pair, sides=sides, count=count) for pair in MODALITY_PAIRS}
    standard = {pair: (float(found.mean()), floor_scale(float(found.std()))) for pair, found in best.items()}
    lines: dict[tuple[Modality, Modality], tuple[float, float]] = {}
    # Across the modalities first: those lines must exist, the others may have to borrow them.
    for query, item in sorted(MODALITY_PAIRS, key=lambda pair: pair[0] is pair[1]):
        checkpoint()
        scores, matches = _candidates(query, item, sides=sides)
        if matches.sum() >= _MATCHES_MINIMUM:
            location, scale = standard[query, item]
            plain = ScoreCurve(location=location, scale=scale, tail=_TAIL)
            lines[query, item] = _logistic(plain.bent((scores - location) / scale), matches)
        elif query is item:
            lines[query, item] = lines[query, query.other]
        else:
            msg = f"pairs: {int(matches.sum())} matches to calibrate on, at least {_MATCHES_MINIMUM}"
            raise NotEnoughItemsError(msg)
    curves = {
        pair: ScoreCurve(
            location=standard[pair][0],
            scale=standard[pair][1],
            slope=lines[pair][0],
            intercept=lines[pair][1],
            tail=_TAIL,
        )
        for pair in MODALITY_PAIRS
    }
    thresholds: dict[tuple[Impostor, Modality, Modality], tuple[float | None, ...]] = {}
    for query, item in MODALITY_PAIRS:
        merge_score = curves[query, item].merge_score
        thresholds[Impostor.BEST, query, item] = conformal_thresholds(merge_score(best[query, item]))
        thresholds[Impostor.SINGLE, query, item] = conformal_thresholds(merge_score(_strangers(query, item, sides)))
    calibration = Calibration(
        source=CalibrationSource.FITTED, curves=curves, thresholds=AcceptThresholds(scores=thresholds)
    )
    return replace(calibration, pairs=fit_pair_curve(*_pair_scores(calibration, sides)))


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """What is compared: per modality rows as queries, rows as items, and codes of pair keys."""

    queries: Mapping[Modality, NDArray[np.float32]]
    items: Mapping[Modality, NDArray[np.float32]]
    codes: Mapping[Modality, NDArray[np.int64]]


def _best_impostors(query: Modality, item: Modality, *, sides: _Sides, count: int) -> NDArray[np.float64]:
    """Return the scores of the best impostors among `count` items, evenly spread over all."""
    checkpoint()
    rows = {m: np.linspace(0, len(sides.items[m]) - 1, count).astype(np.intp) for m in (query, item)}
    best = best_impostors(
        sides.queries[query][rows[query]],
        sides.items[item][rows[item]],
        query_codes=sides.codes[query][rows[query]],
        item_codes=sides.codes[item][rows[item]],
        same=query is item,
    )
    if len(best) < SAMPLE_MINIMUM:
        msg = f"vectors: {len(best)} queries with an impostor to calibrate on, at least {SAMPLE_MINIMUM}"
        raise NotEnoughItemsError(msg)
    return best


def _strangers(query: Modality, item: Modality, sides: _Sides) -> NDArray[np.float64]:
    """Return the scores of pairs that do not belong together, of up to 1,000 evenly spread rows a side."""
    rows = {
        m: np.linspace(0, len(sides.items[m]) - 1, min(len(sides.items[m]), _STRANGER_ROWS)).astype(np.intp)
        for m in (query, item)
    }
    scores = sides.queries[query][rows[query]] @ sides.items[item][rows[item]].T
    apart = sides.codes[query][rows[query], None] != sides.codes[item][rows[item]]
    if query is item:
        np.fill_diagonal(apart, val=False)
    strangers: NDArray[np.float64] = scores[apart].astype(np.float64)
    return strangers


def _pair_scores(
    calibration: Calibration, sides: _Sides
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return pair scores of all matches, of strangers among 1,000 evenly spread rows a side, of best strangers."""
    image_count, text_count = len(sides.items[Modality.IMAGE]), len(sides.items[Modality.TEXT])
    spread = np.zeros(text_count, dtype=bool)
    spread[np.linspace(0, text_count - 1, min(text_count, _STRANGER_ROWS)).astype(np.intp)] = True
    looked_at = set(np.linspace(0, image_count - 1, min(image_count, _STRANGER_ROWS)).astype(np.intp).tolist())
    matches, strangers, best = [], [], []
    for rows in _blocks(image_count):
        checkpoint()
        scores = calibration.pair_scores(
            sides.queries[Modality.IMAGE][rows] @ sides.items[Modality.TEXT].T,
            sides.items[Modality.IMAGE][rows] @ sides.queries[Modality.TEXT].T,
        )
        belong = sides.codes[Modality.IMAGE][rows, None] == sides.codes[Modality.TEXT]
        matches.append(scores[belong])
        chosen = np.array([row in looked_at for row in range(rows.start, rows.stop)])
        strangers.append(scores[~belong & spread & chosen[:, None]])
        best.append(np.where(belong, -np.inf, scores).max(axis=1))
    top = np.concatenate(best)
    return np.concatenate(matches), np.concatenate(strangers), top[np.isfinite(top)]


def _candidates(
    query: Modality,
    item: Modality,
    *,
    sides: _Sides,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores of each query's best candidates and which of them match, flat."""
    scores: list[NDArray[np.float64]] = []
    matches: list[NDArray[np.bool_]] = []
    for rows in _blocks(len(sides.queries[query])):
        checkpoint()
        block = (sides.queries[query][rows] @ sides.items[item].T).astype(np.float64)
        if query is item:
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
        depth = min(_CANDIDATES, block.shape[1])
        top = np.argpartition(-block, depth - 1, axis=1)[:, :depth]
        top_scores = np.take_along_axis(block, top, axis=1)
        top_matches = sides.codes[query][rows, None] == sides.codes[item][top]
        real = np.isfinite(top_scores)
        scores.append(top_scores[real])
        matches.append(top_matches[real])
    return np.concatenate(scores), np.concatenate(matches)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, count))


def _logistic(z: NDArray[np.float64], matches: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the match probability in z, the slope kept above zero."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second of import that no searcher needs

    fitted = LogisticRegression(tol=_TOLERANCE).fit(z[:, None], matches)
    return max(float(fitted.coef_[0, 0]), _SLOPE_MIN), float(fitted.intercept_[0])
