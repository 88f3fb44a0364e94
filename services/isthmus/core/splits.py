"""Split by pair key, so that no photo is both learned from and judged on.

What is held out depends on the pair key and the seed alone: it stays held out when items are added, reordered or fitted
on again. Five captions of a photo share its key, so they are always on one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.canonical import canonical
from isthmus.core.errors import CoreError, LeakError, NotEnoughItemsError, ShapeError
from isthmus.core.sampling import hashed_share

__all__ = ["HELD_OUT_SHARE", "PairSplit", "check_no_leak", "held_out", "join_equal_photos", "split_pairs"]

HELD_OUT_SHARE: Final = 0.2
"""Share of the pair keys that nothing is ever fitted on."""


@dataclass(frozen=True, kw_only=True)
class PairSplit:
    """Rows to fit on and rows to judge on; no pair key is on both sides."""

    seed: int
    """Seed of the choice."""
    fit_pair_count: int
    """Distinct pair keys to fit on."""
    test_pair_count: int
    """Distinct pair keys held out."""
    fit_images: NDArray[np.intp]
    """Rows of the images to fit on, ascending."""
    fit_texts: NDArray[np.intp]
    """Rows of the texts to fit on, ascending."""
    test_images: NDArray[np.intp]
    """Rows of the images held out, ascending."""
    test_texts: NDArray[np.intp]
    """Rows of the texts held out, ascending."""


def held_out(pair_keys: Sequence[str], *, seed: int, share: float = HELD_OUT_SHARE) -> NDArray[np.bool_]:
    """Say which keys are held out: those whose keyed hash is below `share`.

    Args:
        pair_keys: n keys; equal keys get equal answers.
        seed: At least 0.
        share: In [0, 1].

    Returns:
        (n,) True where the key is held out.
    """
    return np.array([hashed_share(key, seed=seed) < share for key in pair_keys], dtype=np.bool_)


def split_pairs(
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    *,
    seed: int,
    share: float = HELD_OUT_SHARE,
    image_vectors: NDArray[np.floating[Any]] | None = None,
) -> PairSplit:
    """Hold a hashed share of the pair keys out.

    Items whose key has no item of the other modality, or that have no key, are on neither side.

    Args:
        image_keys: n pair keys; None or empty where an item has none.
        text_keys: m pair keys.
        seed: Seed of the choice, at least 0.
        share: Share of the keys to hold out, above 0 and below 1.
        image_vectors: (n, d) raw embeddings of the images; with them, one photo under two keys is found too.

    Raises:
        CoreError: `share` is not between 0 and 1.
        NotEnoughItemsError: A side would hold no pair.
        LeakError: A photo is on both sides.
        ShapeError: There is not one vector for each image key.
    """
    if not 0.0 < share < 1.0:
        msg = "share: must be above 0 and below 1"
        raise CoreError(msg)
    if image_vectors is not None and len(image_vectors) != len(image_keys):
        msg = f"image_vectors: need one for each of {len(image_keys)} keys, got {len(image_vectors)}"
        raise ShapeError(msg)
    paired = sorted({key for key in image_keys if key} & {key for key in text_keys if key})
    is_test = dict(zip(paired, held_out(paired, seed=seed, share=share).tolist(), strict=True))
    test_count = sum(is_test.values())
    if not 0 < test_count < len(paired):
        msg = (
            f"pairs: {len(paired)} pair keys with items of both modalities give {len(paired) - test_count} to fit on "
            f"and {test_count} held out; add pairs"
        )
        raise NotEnoughItemsError(msg)
    images, texts = ([is_test.get(key) if key else None for key in keys] for keys in (image_keys, text_keys))
    split = PairSplit(
        seed=seed,
        fit_pair_count=len(paired) - test_count,
        test_pair_count=test_count,
        fit_images=_rows(images, wanted=False),
        fit_texts=_rows(texts, wanted=False),
        test_images=_rows(images, wanted=True),
        test_texts=_rows(texts, wanted=True),
    )
    if image_vectors is not None:
        check_no_leak(
            [image_keys[row] for row in split.fit_images],
            [image_keys[row] for row in split.test_images],
            fit_images=image_vectors[split.fit_images],
            test_images=image_vectors[split.test_images],
        )
    return split


def check_no_leak(
    fit_keys: Sequence[str | None],
    test_keys: Sequence[str | None],
    *,
    fit_images: NDArray[np.floating[Any]] | None = None,
    test_images: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Refuse a split that has one photo on both sides, by its key or by its vector.

    Only images are compared: two photos may well have the same caption.

    Args:
        fit_keys: Pair keys of what is fitted on; None or empty where an item has none.
        test_keys: Pair keys of what is judged on.
        fit_images: (n, d) raw embeddings of the images that are fitted on.
        test_images: (m, d) raw embeddings of the images that are judged on.

    Raises:
        LeakError: A pair key is on both sides, or an image has the same canonical vector as one of the other side.
        ShapeError: The vectors are not two-dimensional or of two dimensions.
        InvalidVectorError: A vector holds NaN or Inf, or has zero length.
    """
    shared = {key for key in fit_keys if key} & {key for key in test_keys if key}
    if shared:
        msg = f"split: {len(shared)} pair keys are on both sides; split by pair_key, not by row"
        raise LeakError(msg)
    if fit_images is None or test_images is None:
        return
    if fit_images.shape[1:] != test_images.shape[1:]:
        msg = "split: the images of both sides must be of one dimension"
        raise ShapeError(msg)
    seen = set(_fingerprints(fit_images))
    equal_count = sum(print_ in seen for print_ in _fingerprints(test_images))
    if equal_count:
        msg = (
            f"split: {equal_count} of {len(test_images)} held-out images have the same vector as an image that is "
            "fitted on; give equal photos one pair_key"
        )
        raise LeakError(msg)


def join_equal_photos(image_keys: Sequence[str | None], image_vectors: NDArray[np.floating[Any]]) -> dict[str, str]:
    """Give keys that share a photo one key: what mends a split that was refused for equal images.

    Args:
        image_keys: n pair keys; None or empty where an image has none.
        image_vectors: (n, d) raw embeddings.

    Returns:
        For every key its group's smallest key; apply it to the keys of images and of texts before splitting.

    Raises:
        ShapeError: There is not one vector for each key.
        InvalidVectorError: A vector holds NaN or Inf, or has zero length.
    """
    if len(image_keys) != len(image_vectors):
        msg = f"image_vectors: need one for each of {len(image_keys)} keys, got {len(image_vectors)}"
        raise ShapeError(msg)
    parent = {key: key for key in image_keys if key}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    first: dict[bytes, str] = {}
    for key, print_ in zip(image_keys, _fingerprints(image_vectors), strict=True):
        if key:
            one, other = root(key), root(first.setdefault(print_, key))
            parent[max(one, other)] = min(one, other)
    return {key: root(key) for key in parent}


def _rows(sides: Sequence[bool | None], *, wanted: bool) -> NDArray[np.intp]:
    return np.array([row for row, side in enumerate(sides) if side is wanted], dtype=np.intp)


def _fingerprints(vectors: NDArray[np.floating[Any]]) -> list[bytes]:
    """Return bytes that are equal for equal photos, whether their vectors were canonical already or not."""
    # Adding zero turns -0 into 0.
    return [row.tobytes() for row in canonical(vectors).astype(np.float16) + np.float16(0.0)] if len(vectors) else []
