"""Raw embeddings with their pair keys, and which of them may be learned from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import FitPairs
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes
from isthmus.core.splits import HELD_OUT_SHARE, check_no_leak, held_out

__all__ = ["RawPairs"]

_SPLIT_SEED: Final = 0


@dataclass(frozen=True, kw_only=True)
class RawPairs:
    """Raw embeddings of both modalities with their pair keys.

    Raises:
        ShapeError: There is not one key, and where there are notes not one note, for each row.
    """

    images: NDArray[np.float32]
    """(n, d)."""
    texts: NDArray[np.float32]
    """(m, e)."""
    image_keys: Sequence[str | None]
    text_keys: Sequence[str | None]
    image_space: str
    text_space: str
    notes: Mapping[Modality, ItemNotes] | None = None
    """What is known of the items of each modality beside, row by row; None where nobody asked."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if (len(self.images), len(self.texts)) != (len(self.image_keys), len(self.text_keys)):
            msg = "pair_key: need one for each image and for each text"
            raise ShapeError(msg)
        if self.notes is not None and len(self.images) + len(self.texts) != sum(
            len(found.ids) for found in self.notes.values()
        ):
            msg = "notes: need one for each image and for each text"
            raise ShapeError(msg)

    @property
    def paired_keys(self) -> list[str]:
        """Keys with items of both modalities, sorted."""
        return sorted({key for key in self.image_keys if key} & {key for key in self.text_keys if key})

    @property
    def held_out_keys(self) -> frozenset[str]:
        """The paired keys that nothing is ever fitted on."""
        keys = self.paired_keys
        return frozenset(key for key, is_out in zip(keys, held_out(keys, seed=_SPLIT_SEED), strict=True) if is_out)

    @property
    def ids(self) -> dict[Modality, Sequence[str]]:
        """Ids of the items of each modality, where there are notes."""
        return {} if self.notes is None else {modality: found.ids for modality, found in self.notes.items()}

    def with_keys(self, keys: Collection[str]) -> RawPairs:
        """Return the items of these keys."""
        images = [row for row, key in enumerate(self.image_keys) if key in keys]
        texts = [row for row, key in enumerate(self.text_keys) if key in keys]
        return RawPairs(
            images=self.images[images],
            texts=self.texts[texts],
            image_keys=[self.image_keys[row] for row in images],
            text_keys=[self.text_keys[row] for row in texts],
            image_space=self.image_space,
            text_space=self.text_space,
            notes=None
            if self.notes is None
            else {
                Modality.IMAGE: self.notes[Modality.IMAGE].take(images),
                Modality.TEXT: self.notes[Modality.TEXT].take(texts),
            },
        )

    def split(self) -> tuple[RawPairs, RawPairs]:
        """Return what may be learned from, and what is held out.

        Raises:
            NotEnoughItemsError: A side would be empty.
            LeakError: A photo is on both sides.
        """
        keys, out = self.paired_keys, self.held_out_keys
        if not out or len(out) == len(keys):
            msg = f"pairs: {len(keys)} are too few to hold {HELD_OUT_SHARE:.0%} out; add pairs"
            raise NotEnoughItemsError(msg)
        learned, judged = self.with_keys(set(keys) - out), self.with_keys(out)
        check_no_leak(learned.image_keys, judged.image_keys, fit_images=learned.images, test_images=judged.images)
        return learned, judged

    def fit_pairs(self) -> FitPairs:
        """Return the pairs as a method takes them.

        Raises:
            CoreError: A row is no vector, or no key has items of both modalities.
        """
        return FitPairs.by_key(
            self.images,
            self.texts,
            image_keys=self.image_keys,
            text_keys=self.text_keys,
            image_space=self.image_space,
            text_space=self.text_space,
        )
