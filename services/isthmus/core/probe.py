"""Probe: do pairs that an aligner was not fitted to still find each other?"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner, ProbeRecall
from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.gap import PAIRS_MIN
from isthmus.core.modality import Modality
from isthmus.core.sampling import keyed_sample

__all__ = ["PROBE_GALLERY_MAX", "probe_recall"]

PROBE_GALLERY_MAX: Final = 256
"""Pair keys a gallery holds at most."""

_DEPTH: Final = 10


def probe_recall(
    aligner: Aligner | None,
    pairs: dict[Modality, NDArray[np.float32]],
    keys: list[str],
    *,
    gallery_count: int | None = None,
    seed: int = 0,
) -> ProbeRecall:
    """Ask every image for its text and every text for its image among `gallery_count` pairs, exactly.

    Recall depends on how many there are to choose from. So that the figures of two days compare, the pairs are dealt
    out to galleries of one size, by the hash of their key, and a rest that fills none is left out.

    Args:
        aligner: Applied to both sides, hubness correction included; None compares raw vectors.
        pairs: Per modality (n, d) raw embeddings; row i of both is one pair.
        keys: n pair keys, distinct.
        gallery_count: Pairs a gallery; None takes half of them, so that it can still be filled when some are deleted,
            at most 256; fewer than 32 are one gallery.
        seed: Of the dealing.

    Raises:
        NotEnoughItemsError: The pairs fill no gallery, or are fewer than 16.
    """
    whole = len(keys) if len(keys) < 2 * PAIRS_MIN else len(keys) // 2
    size = min(whole, PROBE_GALLERY_MAX) if gallery_count is None else gallery_count
    if len(keys) < max(size, PAIRS_MIN):
        msg = f"probe: {len(keys)} held-out pairs, at least {max(size, PAIRS_MIN)} to compare; add pairs"
        raise NotEnoughItemsError(msg)
    count = len(keys) // size * size
    order = keyed_sample(keys, seed=seed, limit=count).reshape(-1, size)
    queries, items = dict(pairs), dict(pairs)
    if aligner is not None:
        queries = {modality: aligner.query_rows(rows, modality) for modality, rows in pairs.items()}
        items = {modality: aligner.item_rows(rows, modality) for modality, rows in pairs.items()}
    shares = {
        query: float(np.mean([_recall(queries[query][rows], items[query.other][rows]) for rows in order]))
        for query in Modality
    }
    return ProbeRecall(
        gallery_count=size, pair_count=count, image_query=shares[Modality.IMAGE], text_query=shares[Modality.TEXT]
    )


def _recall(asked: NDArray[np.float32], held: NDArray[np.float32]) -> float:
    """Return the share of rows whose counterpart is among the ten best; a tie counts half."""
    scores = asked @ held.T
    own = np.diagonal(scores)[:, None]
    ranks = (scores > own).sum(axis=1) + 0.5 * ((scores == own).sum(axis=1) - 1)
    return float((ranks < _DEPTH).mean())
