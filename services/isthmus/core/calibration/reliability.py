"""Does a probability of 0.8 hold in eight of ten cases? Reliability diagram and expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration.calibration import Calibration
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality

__all__ = ["Reliability", "answer_reliability", "reliability"]

_BINS: Final = 15
_BLOCK_ROWS: Final = 256
_DEPTH: Final = 10


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Bins of equal count, in order of their probability."""

    probability: NDArray[np.float64]
    """(b,) mean probability in each bin."""
    share: NDArray[np.float64]
    """(b,) share of matches in each bin."""
    count: NDArray[np.intp]
    """(b,) cases in each bin."""

    @property
    def ece(self) -> float:
        """Return the expected calibration error: mean distance of probability and share, weighted by count."""
        return float((np.abs(self.probability - self.share) * self.count).sum() / self.count.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ece": self.ece,
            "probability": self.probability.tolist(),
            "share": self.share.tolist(),
            "count": self.count.tolist(),
        }


def reliability(
    probabilities: NDArray[np.float64], matches: NDArray[np.bool_], *, bin_count: int = _BINS
) -> Reliability:
    """Compare probabilities with what came true (Naeini et al. 2015; Nixon et al. 2019 for bins of equal count).

    Args:
        probabilities: (n,) in [0, 1].
        matches: (n,) what came true.
        bin_count: Bins; fewer when there are fewer cases.

    Raises:
        NotEnoughItemsError: There are no cases.
        ShapeError: The lengths differ.
    """
    if probabilities.shape != matches.shape:
        msg = "calibration: need one outcome for each probability"
        raise ShapeError(msg)
    if not len(probabilities):
        msg = "calibration: nothing to judge it by"
        raise NotEnoughItemsError(msg)
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(bin_count, len(order)))
    return Reliability(
        probability=np.array([probabilities[rows].mean() for rows in bins]),
        share=np.array([matches[rows].mean() for rows in bins]),
        count=np.array([len(rows) for rows in bins]),
    )


def answer_reliability(
    calibration: Calibration,
    *,
    queries: Mapping[Modality, NDArray[np.float32]],
    items: Mapping[Modality, NDArray[np.float32]],
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    depth: int = _DEPTH,
) -> dict[tuple[Modality, Modality], Reliability]:
    """Judge a calibration by what a user sees: the best answers to each query, on pairs it was not fitted on.

    Over all candidates the error would be small for being mostly about certain strangers. At depth 1 it is larger than
    at 10: that an answer is the best one says more than its score, which is all that a probability here knows.

    Args:
        calibration: Fitted.
        queries: Per modality (n, k) float32 query rows.
        items: Per modality (n, k) float32 item rows.
        image_keys: Pair keys of the images; None or empty where an image has none.
        text_keys: Pair keys of the texts.
        depth: Answers a query.

    Returns:
        For both (query modality, other modality).

    Raises:
        NotEnoughItemsError: A modality is empty, or the calibration has no probabilities.
    """
    image_codes, text_codes = key_codes(image_keys, text_keys)
    codes = {Modality.IMAGE: image_codes, Modality.TEXT: text_codes}
    judged = {}
    for query in Modality:
        count = len(queries[query])
        places = min(depth, len(items[query.other]))
        best = np.empty((count, places))
        match = np.empty((count, places), dtype=bool)
        for start in range(0, count, _BLOCK_ROWS):
            checkpoint()
            rows = slice(start, min(start + _BLOCK_ROWS, count))
            scores = queries[query][rows] @ items[query.other].T
            first = np.argpartition(-scores, places - 1, axis=1)[:, :places]
            best[rows] = np.take_along_axis(scores, first, axis=1)
            match[rows] = codes[query][rows, None] == codes[query.other][first]
        probabilities = calibration.probabilities(best.ravel(), query=query, item=query.other)
        if probabilities is None:
            msg = "calibration: it was not fitted, so it has no probabilities to judge"
            raise NotEnoughItemsError(msg)
        judged[query, query.other] = reliability(probabilities, match.ravel())
    return judged
