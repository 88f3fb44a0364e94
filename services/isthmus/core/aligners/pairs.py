"""What an aligner is fitted to: images, texts, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import InvalidVectorError, NotEnoughItemsError, ShapeError, SpacesMismatchError
from isthmus.core.modality import Modality

__all__ = ["FitPairs", "require_one_revision", "require_pairs"]

_NORM_MIN: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class FitPairs:
    """Raw embeddings of both modalities, checked.

    Raises:
        NotEnoughItemsError: A modality has no rows.
        ShapeError: The arrays do not fit together.
        InvalidVectorError: A row holds NaN or Inf, or has zero length.
    """

    images: NDArray[np.float32] = field(repr=False)
    """(n, d), rows unit-norm."""
    texts: NDArray[np.float32] = field(repr=False)
    """(m, e), rows unit-norm."""
    owners: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp), repr=False)
    """(m,) row of the image that each text belongs to; left out, row i pairs with row i."""
    image_space: str
    """Raw space of the images, `encoder_id@revision`."""
    text_space: str
    """Raw space of the texts, `encoder_id@revision`."""

    def __post_init__(self) -> None:
        """Check every row: a method would spread one bad number over all."""
        for name, rows in (("images", self.images), ("texts", self.texts)):
            if rows.ndim != 2:  # noqa: PLR2004
                msg = f"{name}: need an (n, d) array, got {rows.ndim} dimensions"
                raise ShapeError(msg)
            if not len(rows):
                msg = f"{name}: there are none; an aligner is fitted to pairs of an image and a text"
                raise NotEnoughItemsError(msg)
            _refuse_first(~np.isfinite(rows).all(axis=1), "holds a value that is not finite; leave the item out", name)
            norms = np.linalg.norm(rows.astype(np.float64), axis=1)
            _refuse_first(norms <= _NORM_MIN, "has zero length; leave the item out", name)
        if not len(self.owners):
            object.__setattr__(self, "owners", np.arange(len(self.texts)))
        if self.owners.shape != (len(self.texts),) or not 0 <= self.owners.min() <= self.owners.max() < len(
            self.images
        ):
            msg = f"owners: need one row of the {len(self.images)} images for each of the {len(self.texts)} texts"
            raise ShapeError(msg)

    @classmethod
    def by_key(
        cls,
        images: NDArray[np.float32],
        texts: NDArray[np.float32],
        *,
        image_keys: Sequence[str | None],
        text_keys: Sequence[str | None],
        image_space: str,
        text_space: str,
    ) -> FitPairs:
        """Pair items by their keys; items without a counterpart are left out, of several images of a key one is kept.

        Args:
            images: (n, d) float32.
            texts: (m, e) float32.
            image_keys: n pair keys; None or empty where an image has none.
            text_keys: m pair keys.
            image_space: Raw space of the images.
            text_space: Raw space of the texts.

        Raises:
            NotEnoughItemsError: No key has items of both modalities.
            ShapeError: The arrays do not fit together.
            InvalidVectorError: A row holds NaN or Inf, or has zero length.
        """
        wanted = {key for key in text_keys if key}
        first: dict[str, int] = {}
        for row, key in enumerate(image_keys):
            if key and key in wanted:
                first.setdefault(key, row)
        place = {key: position for position, key in enumerate(first)}
        rows = [row for row, key in enumerate(text_keys) if key and key in place]
        if not rows:
            msg = "pair_key: no key has items of both modalities; give an image and its text the same key"
            raise NotEnoughItemsError(msg)
        return cls(
            images=images[list(first.values())],
            texts=texts[rows],
            owners=np.array([place[str(text_keys[row])] for row in rows], dtype=np.intp),
            image_space=image_space,
            text_space=text_space,
        )

    @property
    def pair_count(self) -> int:
        """Images that have a text."""
        return len(np.unique(self.owners))

    def vectors(self, modality: Modality) -> NDArray[np.float32]:
        """Return the rows of one modality."""
        return self.images if modality is Modality.IMAGE else self.texts

    def subset(self, chosen: NDArray[np.bool_]) -> FitPairs:
        """Return some images, (n,) True for each, with their texts.

        Raises:
            NotEnoughItemsError: A modality would be empty.
        """
        place = np.cumsum(chosen) - 1
        texts = chosen[self.owners]
        return replace(
            self, images=self.images[chosen], texts=self.texts[texts], owners=place[self.owners[texts]].astype(np.intp)
        )

    def matched(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (m, d) and (m, e) float64 rows that belong together, one a text."""
        return self.images[self.owners].astype(np.float64), self.texts.astype(np.float64)


def require_pairs(pairs: FitPairs, least: int, *, method: str, remedy: str) -> None:
    """Refuse to fit to too few pairs.

    Raises:
        NotEnoughItemsError: There are fewer than `least`; says how many are needed, and what else helps.
    """
    if pairs.pair_count < least:
        msg = f"{method}: {pairs.pair_count} pairs to fit on, at least {least}; {remedy}"
        raise NotEnoughItemsError(msg)


def require_one_revision(spaces: Sequence[str], *, modality: Modality) -> str:
    """Return the one raw space that all embeddings of a modality are of.

    Raises:
        NotEnoughItemsError: There are no embeddings.
        SpacesMismatchError: They are of several encoders or revisions.
    """
    distinct = sorted(set(spaces))
    if not distinct:
        msg = f"{modality}s: there are none; an aligner is fitted to pairs of an image and a text"
        raise NotEnoughItemsError(msg)
    if len(distinct) > 1:
        msg = f"{modality}s: embeddings of {len(distinct)} encoder revisions; embed all of them with one"
        raise SpacesMismatchError(msg)
    return distinct[0]


def _refuse_first(bad: NDArray[np.bool_] | np.bool_, problem: str, name: str) -> None:
    if bad.any():
        raise InvalidVectorError(int(np.argmax(bad)), problem, field=name)
