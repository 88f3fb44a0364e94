"""Which texts could belong to which image: the best few of each side, never the whole matrix.

Scores are computed in blocks of images against all texts. Kept are the best candidates of every image and the best of
every text, as the edges of a bipartite graph. With n images, m texts and c candidates that is at most c (n + m) edges,
and one block of 4 million scores at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import ShapeError
from isthmus.core.matching import PairSides, Sides
from isthmus.core.modality import Modality

__all__ = ["CANDIDATES", "CandidateGraph", "LinkSides", "candidate_graph"]

CANDIDATES: Final = 32
"""Best items of the other modality that are looked at for each item."""

_BLOCK_SCORES: Final = 4_194_304


@dataclass(frozen=True, kw_only=True)
class LinkSides(Sides):
    """Rows of n images and m texts as they are compared.

    Raises:
        ShapeError: Query rows and item rows of a modality do not agree, or the modalities are of two dimensions.
    """

    def __post_init__(self) -> None:
        """Check the shapes."""
        if (
            self.image_queries.shape != self.image_items.shape
            or self.text_queries.shape != self.text_items.shape
            or self.image_queries.shape[1:] != self.text_queries.shape[1:]
        ):
            msg = "items: need one query row and one item row for each, of one dimension"
            raise ShapeError(msg)

    def log_odds(self, images: slice, calibration: Calibration) -> NDArray[np.float64]:
        """Return (b, m) log-odds of some images with all texts, by the search curves: the mean of both directions.

        Straight lines, without the tail that a merge bends them by: the tail is for near-duplicates of the query's own
        modality, and would take from the best candidates what they are ahead by.
        """
        forth, back = (
            replace(calibration.curves[query, query.other], tail=None) for query in (Modality.IMAGE, Modality.TEXT)
        )
        to_text = forth.merge_score(self.image_queries[images] @ self.text_items.T)
        to_image = back.merge_score(self.image_items[images] @ self.text_queries.T)
        return 0.5 * (to_text + to_image)

    def pair_scores(
        self, images: NDArray[np.intp], texts: NDArray[np.intp], calibration: Calibration
    ) -> NDArray[np.float64]:
        """Return (e,) pair scores of some images with as many texts: see `PairCurve`."""
        found = np.empty(len(images))
        pairs_a_block = max(1, _BLOCK_SCORES // self.image_items.shape[1])
        for start in range(0, len(images), pairs_a_block):
            some = slice(start, start + pairs_a_block)
            pairs = PairSides(
                image_queries=self.image_queries[images[some]],
                image_items=self.image_items[images[some]],
                text_queries=self.text_queries[texts[some]],
                text_items=self.text_items[texts[some]],
            )
            found[some] = pairs.scores(calibration)
        return found


@dataclass(frozen=True, kw_only=True)
class CandidateGraph:
    """Candidate links, in order of image and text; no link twice."""

    image_count: int
    text_count: int
    images: NDArray[np.intp]
    """(e,) row of the image."""
    texts: NDArray[np.intp]
    """(e,) row of the text."""
    log_odds: NDArray[np.float64]
    """(e,) of matching, among search candidates."""

    def subset(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> CandidateGraph:
        """Return some of the links."""
        return CandidateGraph(
            image_count=self.image_count,
            text_count=self.text_count,
            images=self.images[kept],
            texts=self.texts[kept],
            log_odds=self.log_odds[kept],
        )


def candidate_graph(
    sides: LinkSides,
    calibration: Calibration,
    *,
    count: int = CANDIDATES,
    progress: Callable[[float], None] = lambda _: None,
) -> CandidateGraph:
    """Return each image's best texts and each text's best images.

    Args:
        sides: What is compared.
        calibration: Makes log-odds of both directions' cosines.
        count: Candidates of each item, at least 1.
        progress: Told the share that is done after each block, in (0, 1].
    """
    image_count, text_count = len(sides.image_items), len(sides.text_items)
    rows_a_block = max(1, _BLOCK_SCORES // max(text_count, 1))
    links: list[NDArray[np.int64]] = []
    link_scores: list[NDArray[np.float64]] = []
    best = np.empty((0, text_count))  # running best of each text, one column a text
    best_rows = np.empty((0, text_count), dtype=np.int64)
    for start in range(0, image_count, rows_a_block):
        checkpoint()
        rows = slice(start, min(start + rows_a_block, image_count))
        scores = sides.log_odds(rows, calibration)
        depth = min(count, text_count)
        top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        links.append((np.arange(rows.start, rows.stop)[:, None] * text_count + top).ravel())
        link_scores.append(np.take_along_axis(scores, top, axis=1).ravel())
        best, best_rows = _merged(best, best_rows, scores, first_row=start, count=count)
        progress(rows.stop / image_count)
    links.append((best_rows * text_count + np.arange(text_count)).ravel())
    link_scores.append(best.ravel())
    codes, first = np.unique(np.concatenate(links), return_index=True)
    return CandidateGraph(
        image_count=image_count,
        text_count=text_count,
        images=codes // max(text_count, 1),
        texts=codes % max(text_count, 1),
        log_odds=np.concatenate(link_scores)[first],
    )


def _merged(
    best: NDArray[np.float64],
    best_rows: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    first_row: int,
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the best `count` of each column among `best` and `scores`, with their rows."""
    depth = min(count, len(scores))
    top = np.argpartition(-scores, depth - 1, axis=0)[:depth]
    best = np.concatenate([best, np.take_along_axis(scores, top, axis=0)])
    best_rows = np.concatenate([best_rows, top + first_row])
    kept = np.argpartition(-best, min(count, len(best)) - 1, axis=0)[:count]
    return np.take_along_axis(best, kept, axis=0), np.take_along_axis(best_rows, kept, axis=0)
