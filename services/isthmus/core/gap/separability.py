"""Linear separability: can a plane tell images from texts?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.modality import Modality
from isthmus.core.splits import HELD_OUT_SHARE, held_out

__all__ = ["Separability", "separability"]

_ITERATION_MAX: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Separability(MeasureResult):
    """Held-out accuracy of telling the modalities apart; 1 is a full gap, 0.5 is none."""

    accuracy: Figure
    """On pairs that the classifier never saw."""
    test_pair_count: int
    """Held-out pairs."""


def separability(sample: Corpus, *, bootstrap: ClusterBootstrap, seed: int, sampled: bool) -> Separability:
    """Fit a logistic classifier, image against text, on 80 % of the pair keys and judge it on the others.

    The separability of :cite:`role:25:fill` (reconstruction). The noise floor tells two random halves of one modality
    apart.

    Args:
        sample: Balanced, of one space.
        bootstrap: Of this sample.
        seed: Seed of the hashed split, and of the halves behind the noise floor.
        sampled: Said in the result.

    Raises:
        SpacesMismatchError: The dimensions differ.
    """
    sample.require_one_space("separability")
    test = _held_out(sample.keys[Modality.IMAGE], seed=seed)
    both = np.concatenate([sample.images, sample.texts])
    is_image = np.arange(len(both)) < len(sample.images)
    right = _right(both, is_image, np.concatenate([test, test])).reshape(2, -1)
    # One value a pair: the mean of its image's and its text's.
    values = np.where(test, right.mean(axis=0), np.nan)
    half = np.random.default_rng(seed).permutation(len(test)) < len(test) // 2
    floor = max(float(_right(sample.vectors[modality], half, test)[test].mean()) for modality in Modality)
    return Separability(
        n=len(sample.images),
        seed=seed,
        sampled=sampled,
        accuracy=bootstrap.mean(values, Modality.IMAGE, noise_floor=floor),
        test_pair_count=int(test.sum()),
    )


def _held_out(keys: tuple[str, ...], *, seed: int) -> NDArray[np.bool_]:
    """Return which pairs are held out: a hashed fifth, and at least one on each side."""
    test = held_out(keys, seed=seed, share=HELD_OUT_SHARE)
    if test.all() or not test.any():
        test = np.arange(len(keys)) % 5 == 0
    return test


def _right(rows: NDArray[np.float32], target: NDArray[np.bool_], test: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) 1 where the classifier that saw the other rows is right."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second of import that no searcher needs

    # Components of unit rows shrink as the dimension grows; the penalty should not grow with it.
    scaled = rows * np.float32(np.sqrt(rows.shape[1]))
    if target[~test].all() or not target[~test].any():
        return np.full(len(rows), 0.5)
    fitted = LogisticRegression(max_iter=_ITERATION_MAX, tol=1e-3).fit(scaled[~test], target[~test])
    right: NDArray[np.float64] = (fitted.predict(scaled) == target).astype(np.float64)
    return right
