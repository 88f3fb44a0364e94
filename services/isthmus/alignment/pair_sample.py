"""A collection's pairs in bounded memory: as many pair keys as fit, chosen by their hash while they stream by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.ports import CollectionHead, ItemBatch
from isthmus.core.modality import Modality
from isthmus.core.sampling import hashed_share
from isthmus.evaluation.items import ModalityItems
from isthmus.runtime.base.errors import InternalError

__all__ = ["PairSample", "PairSampler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSample:
    """Items of the chosen pair keys; all items of a key or none."""

    head: CollectionHead
    items: dict[Modality, ModalityItems]
    share: float
    """Share of all pair keys that was chosen, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Some items of one modality with the place of each pair key among all, in [0, 1)."""

    batch: ItemBatch
    places: NDArray[np.float64]

    def below(self, share: float) -> _Kept:
        """Return the items whose keys are among the first `share`."""
        rows = np.flatnonzero(self.places < share).tolist()
        batch = ItemBatch(
            modality=self.batch.modality,
            ids=[self.batch.ids[row] for row in rows],
            pair_keys=[self.batch.pair_keys[row] for row in rows],
            vectors=self.batch.vectors[rows],
            values=[self.batch.values[row] for row in rows] if self.batch.values else (),
        )
        return _Kept(batch, self.places[rows])


class PairSampler:
    """Collects a stream of batches.

    Whenever more than `max_items` are held, half of the keys are given up: those with the larger hash. What is kept
    depends on the items and the seed, not on their order.

    Args:
        max_items: Items that may be held.
        seed: Of the hash, at least 0.
    """

    def __init__(self, *, max_items: int, seed: int) -> None:
        self._max_items = max_items
        self._seed = seed
        self._share = 1.0
        self._head: CollectionHead | None = None
        self._kept: list[_Kept] = []
        self._count = 0

    def add(self, message: CollectionHead | ItemBatch) -> None:
        """Take in the next message."""
        if isinstance(message, CollectionHead):
            self._head = message
            return
        places = np.array([hashed_share(key, seed=self._seed) for key in message.pair_keys])
        self._keep(_Kept(message, places).below(self._share))
        while self._count > self._max_items:
            self._share /= 2.0
            before, self._kept, self._count = self._kept, [], 0
            for kept in before:
                self._keep(kept.below(self._share))

    def sample(self) -> PairSample:
        """Return what was kept once the stream has ended."""
        if self._head is None:
            msg = "the stream of items did not start with its collection"
            raise InternalError(msg)
        return PairSample(
            head=self._head, items={modality: self._joined(modality) for modality in Modality}, share=self._share
        )

    def _keep(self, kept: _Kept) -> None:
        self._kept.append(kept)
        self._count += len(kept.places)

    def _joined(self, modality: Modality) -> ModalityItems:
        batches = [kept.batch for kept in self._kept if kept.batch.modality is modality and len(kept.places)]
        return ModalityItems(
            ids=[item for batch in batches for item in batch.ids],
            pair_keys=[key for batch in batches for key in batch.pair_keys],
            values=[value for batch in batches for value in batch.values],
            vectors=np.concatenate([batch.vectors for batch in batches])
            if batches
            else np.empty((0, 1), dtype=np.float32),
        )
