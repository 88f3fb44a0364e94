"""What is evaluated: items of both modalities, and which of them can be queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality
from isthmus.core.sampling import keyed_sample

__all__ = ["ModalityItems", "PairedRows", "paired_rows"]


@dataclass(frozen=True, kw_only=True)
class ModalityItems:
    """All items of one modality.

    Raises:
        ShapeError: There is not one id, one pair key and one vector an item.
    """

    ids: Sequence[str]
    """n ids, all different."""
    pair_keys: Sequence[str | None]
    """n pair keys; None or empty where an item has none."""
    vectors: NDArray[np.float32]
    """(n, d) float32, rows unit-norm, of one space."""
    values: Sequence[str] = ()
    """n values of one attribute as text, empty where an item has none; none at all where nobody asked."""
    words: Sequence[int] = ()
    """n numbers of words, 0 where that is not known; none at all where nobody asked."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if not len(self.ids) == len(self.pair_keys) == len(self.vectors) or self.vectors.ndim != 2:  # noqa: PLR2004
            msg = "items: need one id, one pair key and one vector for each"
            raise ShapeError(msg)


@dataclass(frozen=True, kw_only=True)
class PairedRows:
    """Which rows are queries, and whom they match."""

    pair_count: int
    """Distinct pair keys that are judged."""
    codes: Mapping[Modality, NDArray[np.int64]]
    """Per modality (n,) codes; equal codes match."""
    rows: Mapping[Modality, NDArray[np.intp]]
    """Per modality the rows that are queries: their pair key has items of both modalities and was chosen."""


def paired_rows(
    pair_keys: Mapping[Modality, Sequence[str | None]], *, pair_limit: int | None = None, seed: int = 0
) -> PairedRows:
    """Find the queries among items.

    Args:
        pair_keys: Per modality one key an item; None or empty where it has none.
        pair_limit: Judge at most so many pair keys, chosen by their hash; every item stays an answer.
        seed: Seed of that choice.

    Raises:
        NotEnoughItemsError: No pair key has items of both modalities.
    """
    image_keys, text_keys = pair_keys[Modality.IMAGE], pair_keys[Modality.TEXT]
    shared = sorted({key for key in image_keys if key} & {key for key in text_keys if key})
    if not shared:
        msg = "pair_key: no key has items of both modalities, so there is nothing to judge by"
        raise NotEnoughItemsError(msg)
    if pair_limit is not None and len(shared) > pair_limit:
        shared = [shared[position] for position in keyed_sample(shared, seed=seed, limit=pair_limit)]
    chosen = frozenset(shared)
    image_codes, text_codes = key_codes(image_keys, text_keys)
    return PairedRows(
        pair_count=len(shared),
        codes={Modality.IMAGE: image_codes, Modality.TEXT: text_codes},
        rows={
            modality: np.array([row for row, key in enumerate(keys) if key in chosen], dtype=np.intp)
            for modality, keys in pair_keys.items()
        },
    )
