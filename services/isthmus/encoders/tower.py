"""The seam between a model and what serves it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.encoders.spec import EncoderInfo

__all__ = ["Prepared", "Tower", "encode_all"]

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One item, preprocessed on the CPU and ready for a batch."""

    tensors: dict[str, torch.Tensor]
    """The model's inputs for this item. Images: with a leading axis of 1. Texts: one-dimensional, not padded."""
    truncated: bool = False
    """The text was longer than the context and was cut to it."""


class Tower(Protocol[ItemT_contra]):
    """One encoder: items of one modality to canonical embeddings."""

    @property
    def info(self) -> EncoderInfo:
        """Identity and shape."""

    def prepare(self, item: ItemT_contra) -> Prepared:
        """Preprocess one item on the CPU. Thread-safe.

        Raises:
            IsthmusError: The item itself is wrong.
        """

    def forward(self, batch: Sequence[Prepared]) -> NDArray[np.float32]:
        """Encode a batch. One thread at a time.

        Args:
            batch: n prepared items, n at least 1.

        Returns:
            (n, d) float32, canonical: unit length, float16 values.

        Raises:
            ValueError: An embedding is not finite or zero.
        """

    def warm(self) -> None:
        """Run a dummy batch, so that the first caller does not pay for lazy initialisation."""


def encode_all(tower: Tower[ItemT], items: Iterable[ItemT], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Encode items in batches, without a service around: for training and measuring.

    Args:
        tower: The encoder.
        items: Items of its modality; a bad one raises.
        batch_size: Items a forward pass.

    Returns:
        (n, d) float32, canonical, in the order of `items`; (0, d) when there are none.

    Raises:
        IsthmusError: An item is wrong.
    """
    rows: list[NDArray[np.float32]] = [np.empty((0, tower.info.dimension), np.float32)]
    batch: list[Prepared] = []
    for item in items:
        batch.append(tower.prepare(item))
        if len(batch) == batch_size:
            rows.append(tower.forward(batch))
            batch = []
    if batch:
        rows.append(tower.forward(batch))
    return np.concatenate(rows)
