"""What a snapshot does not hold in memory, raw embeddings and thumbnails: read from the store when asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.events import embedding_rows
from isthmus.index.follower import Follower
from isthmus.index.model import ItemBatch, ItemView, NotesWanted, attribute_text, attributes_from_json
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import UnavailableError

__all__ = ["fill_embeddings", "take_batch", "take_rows"]


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
        except LookupError as error:
            msg = "items were erased while they were read; ask again"
            raise UnavailableError(msg, reason="NOT_READY", retry_after_s=0.1) from error
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


def take_batch(
    follower: Follower, snapshot: Snapshot, modality: Modality, row_ids: NDArray[np.int64], notes: NotesWanted
) -> ItemBatch:
    """Read items of one modality with their embeddings, and what is wanted of them beside. Blocks."""
    rows = take_rows(follower, snapshot, row_ids)
    asked = notes.attribute or notes.words
    known = [attributes_from_json(data) for data in rows["attributes"].to_pylist()] if asked else []
    return ItemBatch(
        modality=modality,
        ids=tuple(rows["id"].to_pylist()),
        pair_keys=tuple(rows["pair_key"].to_pylist()),
        embeddings=embedding_rows(rows["embedding"], snapshot.settings.dimension(modality)),
        values=tuple(attribute_text(attributes, notes.attribute) for attributes, _ in known) if notes.attribute else (),
        words=tuple(words for _, words in known) if notes.words else (),
        row_ids=tuple(row_ids.tolist()),
    )
