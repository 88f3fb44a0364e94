"""A collection in memory, read from a stream of batches under a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.ports import CollectionHead, ItemBatch
from isthmus.core.modality import Modality
from isthmus.evaluation.items import ModalityItems
from isthmus.runtime.base.errors import InternalError, ResourceExhaustedError

__all__ = ["CollectionLoader", "LoadedCollection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCollection:
    """A collection's head with its items of both modalities."""

    head: CollectionHead
    items: Mapping[Modality, ModalityItems]


class CollectionLoader:
    """Collects a stream of batches.

    Args:
        max_items: Items that may be held.
    """

    def __init__(self, *, max_items: int) -> None:
        self._max_items = max_items
        self._head: CollectionHead | None = None
        self._batches: dict[Modality, list[ItemBatch]] = {modality: [] for modality in Modality}
        self._read = 0

    @property
    def share(self) -> float:
        """Share of the collection's live items that was read, in [0, 1]; an estimate when some are left out."""
        if self._head is None or self._head.item_count == 0:
            return 0.0
        return min(1.0, self._read / self._head.item_count)

    def add(self, message: CollectionHead | ItemBatch) -> None:
        """Take in the next message.

        Raises:
            ResourceExhaustedError: LIMIT_EXCEEDED, as soon as it is known.
        """
        if isinstance(message, CollectionHead):
            self._head = message
            return
        self._read += len(message.ids)
        if self._read > self._max_items:
            msg = f"collection: more than {self._max_items} items, which is the limit of a fit or an evaluation"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "collection", "limit": str(self._max_items)}
            )
        self._batches[message.modality].append(message)

    def loaded(self) -> LoadedCollection:
        """Return the collection once the stream has ended."""
        if self._head is None:
            msg = "the stream of items did not start with its collection"
            raise InternalError(msg)
        return LoadedCollection(
            head=self._head, items={modality: _joined(found) for modality, found in self._batches.items()}
        )


def _joined(batches: list[ItemBatch]) -> ModalityItems:
    vectors: NDArray[np.float32] = (
        np.concatenate([batch.vectors for batch in batches]) if batches else np.empty((0, 1), dtype=np.float32)
    )
    return ModalityItems(
        ids=[item for batch in batches for item in batch.ids],
        pair_keys=[key for batch in batches for key in batch.pair_keys],
        vectors=vectors,
        values=[value for batch in batches for value in batch.values],
        words=[count for batch in batches for count in batch.words],
    )
