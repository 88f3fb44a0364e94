"""What a snapshot does not hold in memory, raw embeddings and thumbnails: read from the store when asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.events import embedding_rows
from isthmus.index.follower import Follower
from isthmus.index.model import ItemView
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import UnavailableError

__all__ = ["fill_embeddings", "take_rows"]


def take_rows(
    follower: Follower, snapshot: Snapshot, row_ids: NDArray[np.int64], *, thumbnails: bool = False
) -> pa.Table:
    """Read rows of a snapshot from the store. Blocks.

    Raises:
        UnavailableError: BACKEND_UNAVAILABLE; it cannot be read.
        DataLossError: STORE_DAMAGED.
    """
    try:
        return snapshot.view.take(row_ids, thumbnails=thumbnails)
    except (OSError, ValueError):
        # The version this snapshot was read from may have been compacted and cleaned up meanwhile. Rows keep their
        # ids, so the newest version serves as well.
        try:
            return follower.fresh_view().take(row_ids, thumbnails=thumbnails)
        except (OSError, ValueError) as error:
            msg = "the collection's store cannot be read"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error


def fill_embeddings(items: list[ItemView], embeddings: pa.ChunkedArray, snapshot: Snapshot) -> None:
    """Give each item its raw embedding, row i of `embeddings` to item i."""
    for modality in Modality:
        places = [place for place, item in enumerate(items) if item.modality is modality]
        rows = embedding_rows(embeddings.take(pa.array(places, pa.int64())), snapshot.settings.dimension(modality))
        for place, row in zip(places, rows, strict=True):
            items[place] = replace(items[place], embedding=row)
