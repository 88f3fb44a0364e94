"""Read rows of a snapshot through, batch by batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.follower import Follower
from isthmus.index.model import ItemBatch, NotesWanted
from isthmus.index.search_pool import SearchPool
from isthmus.index.snapshot import Snapshot
from isthmus.index.stored_rows import take_batch
from isthmus.runtime.base.limits import UPSERT_MAX_COUNT

__all__ = ["read_rows"]

_BATCH_MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of embeddings in a batch of `read_items`: far below what a message may hold."""


async def read_rows(
    follower: Follower,
    snapshot: Snapshot,
    chosen: Callable[[Modality], NDArray[np.int64]],
    *,
    notes: NotesWanted,
    pool: SearchPool,
) -> AsyncIterator[ItemBatch]:
    """Yield items with their raw embeddings, images first.

    Args:
        follower: Of the collection.
        snapshot: What is read; it stays what it is, whatever is written meanwhile.
        chosen: Returns where the wanted items of a modality lie in the store.
        notes: What to say of items beside.
        pool: Does the reading.
    """
    for modality in snapshot.settings.modalities:
        row_ids = await pool.run(partial(chosen, modality))
        dimension = snapshot.settings.dimension(modality)
        count = min(UPSERT_MAX_COUNT, max(1, _BATCH_MAX_BYTES // (2 * dimension)))
        for start in range(0, len(row_ids), count):
            wanted = row_ids[start : start + count]
            yield await pool.run(partial(take_batch, follower, snapshot, modality, wanted, notes))
