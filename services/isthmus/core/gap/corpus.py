"""What is measured: the vectors of both modalities and which belong together, checked once at the door."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import InvalidVectorError, NotEnoughItemsError, ShapeError, SpacesMismatchError
from isthmus.core.keys import key_codes
from isthmus.core.modality import Modality
from isthmus.core.sampling import keyed_sample

__all__ = ["PAIRS_MIN", "SAMPLE_LIMIT", "Corpus", "halves"]

PAIRS_MIN: Final = 16
"""Distinct pair keys below which nothing is measured: an interval of fewer says nothing."""
SAMPLE_LIMIT: Final = 2_000
"""Pairs that a measure looks at whose cost grows faster than one product of all vectors."""

_RANK: Final = 2


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Images, texts and their pair keys; made by `Corpus.of`, which checks them."""

    vectors: dict[Modality, NDArray[np.float32]]
    """Per modality (n, d) float32, rows unit-norm."""
    keys: dict[Modality, tuple[str, ...]]
    """Per modality n pair keys; empty where an item has none."""
    codes: dict[Modality, NDArray[np.int64]]
    """Per modality (n,) codes; equal codes match, negative ones match nothing."""

    @classmethod
    def of(
        cls,
        images: NDArray[np.floating[Any]],
        texts: NDArray[np.floating[Any]],
        *,
        image_keys: Sequence[str | None] | None = None,
        text_keys: Sequence[str | None] | None = None,
    ) -> Self:
        """Check the vectors and scale their rows to unit length.

        Args:
            images: (n, d) real numbers, one row an image.
            texts: (m, e) real numbers, one row a text; e equals d when both are of one space.
            image_keys: n pair keys; None or empty where an item has none. Without keys row i pairs with row i.
            text_keys: m pair keys.

        Raises:
            ShapeError: An array has another shape, or there is not one key for each row.
            InvalidVectorError: A row holds NaN or Inf, or has zero length; names the modality and the first such row.
            NotEnoughItemsError: A modality is missing, or fewer than 16 pair keys have items of both.
        """
        given = {Modality.IMAGE: np.asarray(images), Modality.TEXT: np.asarray(texts)}
        vectors = {modality: _unit_rows(rows, modality) for modality, rows in given.items()}
        if image_keys is None and text_keys is None:
            if len(images) != len(texts):
                msg = f"pair_key: {len(images)} images and {len(texts)} texts cannot pair row by row; give pair keys"
                raise ShapeError(msg)
            image_keys = text_keys = [str(row) for row in range(len(images))]
        if image_keys is None or text_keys is None:
            msg = "pair_key: give keys for both modalities or for neither"
            raise ShapeError(msg)
        keys = {
            Modality.IMAGE: tuple(key or "" for key in image_keys),
            Modality.TEXT: tuple(key or "" for key in text_keys),
        }
        for modality, rows in vectors.items():
            if len(keys[modality]) != len(rows):
                msg = f"pair_key: need one for each of {len(rows)} {modality}s, got {len(keys[modality])}"
                raise ShapeError(msg)
        image_codes, text_codes = key_codes(keys[Modality.IMAGE], keys[Modality.TEXT])
        made = cls(vectors=vectors, keys=keys, codes={Modality.IMAGE: image_codes, Modality.TEXT: text_codes})
        if (count := len(made.paired_keys)) < PAIRS_MIN:
            msg = f"pairs: {count} pair keys have items of both modalities, at least {PAIRS_MIN}; add pairs"
            raise NotEnoughItemsError(msg)
        return made

    @property
    def images(self) -> NDArray[np.float32]:
        """(n, d) float32, rows unit-norm."""
        return self.vectors[Modality.IMAGE]

    @property
    def texts(self) -> NDArray[np.float32]:
        """(m, e) float32, rows unit-norm."""
        return self.vectors[Modality.TEXT]

    @property
    def one_space(self) -> bool:
        """Whether images and texts have one dimension, so that a cosine between them means something."""
        return bool(self.images.shape[1] == self.texts.shape[1])

    @property
    def paired_keys(self) -> list[str]:
        """Pair keys with items of both modalities, sorted."""
        images, texts = self.keys[Modality.IMAGE], self.keys[Modality.TEXT]
        return sorted(({*images} & {*texts}) - {""})

    def balanced(self) -> Self:
        """Return one image and one text a pair key, the first of each, so that neither modality outweighs the other.

        Row i of the images then pairs with row i of the texts; rows are sorted by key.
        """
        return self._first_of_keys(self.paired_keys)

    def sample(self, *, seed: int, limit: int = SAMPLE_LIMIT) -> Self:
        """Return at most `limit` pairs of the balanced corpus, chosen by the hash of their key."""
        keys = self.paired_keys
        if len(keys) <= limit:
            return self._first_of_keys(keys)
        return self._first_of_keys([keys[row] for row in sorted(keyed_sample(keys, seed=seed, limit=limit))])

    def of_keys(self, keys: Collection[str]) -> Self:
        """Return every item of these pair keys, in the order they had."""
        rows = {
            modality: np.array([row for row, key in enumerate(own) if key in keys], dtype=np.intp)
            for modality, own in self.keys.items()
        }
        return type(self)(
            vectors={modality: self.vectors[modality][chosen] for modality, chosen in rows.items()},
            keys={modality: tuple(self.keys[modality][row] for row in chosen) for modality, chosen in rows.items()},
            codes={modality: self.codes[modality][chosen] for modality, chosen in rows.items()},
        )

    def require_one_space(self, measure: str) -> None:
        """Refuse a measure that compares images with texts when their dimensions differ.

        Raises:
            SpacesMismatchError: They differ.
        """
        if not self.one_space:
            msg = (
                f"{measure}: images and texts have {self.images.shape[1]} and {self.texts.shape[1]} dimensions; "
                "fit an aligner that joins them first"
            )
            raise SpacesMismatchError(msg)

    def _first_of_keys(self, keys: Sequence[str]) -> Self:
        rows: dict[Modality, NDArray[np.intp]] = {}
        for modality, own in self.keys.items():
            first: dict[str, int] = {}
            for row, key in enumerate(own):
                first.setdefault(key, row)
            rows[modality] = np.array([first[key] for key in keys], dtype=np.intp)
        codes = np.arange(len(keys))
        return type(self)(
            vectors={modality: self.vectors[modality][chosen] for modality, chosen in rows.items()},
            keys=dict.fromkeys(rows, tuple(keys)),
            codes=dict.fromkeys(rows, codes),
        )


def halves(rows: NDArray[np.float32], *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two random halves of equal size: what one modality looks like beside itself."""
    order = np.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    return rows[order[:half]], rows[order[half : 2 * half]]


def _unit_rows(rows: NDArray[Any], modality: Modality) -> NDArray[np.float32]:
    if rows.ndim != _RANK or rows.shape[1] == 0 or rows.dtype.kind not in "fiu":
        msg = f"{modality}: must be (n, d) real numbers with d at least 1, got {rows.ndim} dimensions"
        raise ShapeError(msg)
    if len(rows) == 0:
        msg = f"{modality}: there are none; a gap needs items of both modalities"
        raise NotEnoughItemsError(msg)
    if rows.dtype.kind in "iu":
        rows = rows.astype(np.float64)
    peak = np.abs(rows).max(axis=1)  # NaN and Inf show in it
    for bad, problem in (
        (~np.isfinite(peak), "holds a value that is not finite"),
        (peak == 0.0, "has zero length"),
    ):
        if bad.any():
            raise InvalidVectorError(int(np.argmax(bad)), f"of {modality} {problem}; leave such items out")
    scaled = rows.astype(np.float64) / peak[:, None].astype(np.float64)
    scaled /= np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(scaled, dtype=np.float32)
