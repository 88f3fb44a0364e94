"""Drift: how far today's vectors are from those that an aligner was fitted to.

Two moments of each modality's raw vectors are compared, the mean and the covariance, the latter in a low-rank summary:
in r fixed directions as it is, outside of them by its trace. One pair key counts as one observation, whatever the
number of its items (five captions of a photo are not five).

Both distances have a unit, the noise floor: the distance that two samples of these sizes show when nothing has moved,

    floor² = s² / K + s'² / K'      with s² the sum of the variances of a key's contribution, K keys in the sample.

For two halves of one sample it is what a split in halves shows on average. As E distance² = moved² + floor², the
squared distance less the squared floor estimates what has really moved.

Reconstruction: docs/methods.md asks for "drift of means since fit" and names no formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.sampling import keyed_sample

__all__ = ["CLOUD_KEYS_MAX", "CLOUD_KEYS_MIN", "CLOUD_RANK", "CloudDrift", "CloudStatistics", "Moved", "cloud_drift"]

CLOUD_RANK: Final = 32
"""Directions that a covariance is kept in."""
CLOUD_KEYS_MAX: Final = 4_000
"""Pair keys that statistics are taken of; of more, a seeded choice."""
CLOUD_KEYS_MIN: Final = 16
"""Pair keys below which nothing is said of a cloud."""

_BLOCK_KEYS: Final = 256
_RANK: Final = 2


@dataclass(frozen=True, kw_only=True)
class CloudStatistics:
    """Mean and spectrum of one modality's raw vectors, small enough to travel inside an artefact.

    The directions are the first principal components of one half of the keys, and the covariance is that of the other
    half: in the half that chose them its own directions would show more variance than any other sample ever will.
    """

    key_count: int
    """Pair keys behind the mean; half of them are behind the covariance."""
    mean: NDArray[np.float32]
    """(d,)."""
    mean_noise: float
    """Squared distance that this sample adds to the mean's floor: s² / K."""
    spread: float
    """Root mean square distance of a vector from the mean."""
    directions: NDArray[np.float32]
    """(r, d) nearly orthonormal rows, of float16 values."""
    covariance: NDArray[np.float32]
    """(r, r) in these directions; the diagonal is the spectrum."""
    rest: float
    """Variance outside of the directions."""
    covariance_noise: float
    """Squared distance that this sample adds to the covariance's floor."""

    @classmethod
    def of(cls, rows: NDArray[np.floating[Any]], keys: NDArray[np.str_], *, seed: int = 0) -> Self:
        """Take the statistics of raw vectors.

        Args:
            rows: (n, d) raw embeddings.
            keys: (n,) pair keys; equal keys are one observation.
            seed: Of the choice of keys and of the halves.

        Raises:
            ShapeError: There is not one key for each row.
            NotEnoughItemsError: There are fewer than 16 keys.
        """
        distinct = _distinct(rows, keys)
        order = keyed_sample(distinct.tolist(), seed=seed, limit=CLOUD_KEYS_MAX)
        chosen = _Keyed.of(rows, keys, only=distinct[order])
        key_means = chosen.means(chosen.rows)
        mean = key_means.mean(axis=0)
        half = len(order) // 2
        directions = _directions(_Keyed.of(rows, keys, only=distinct[order[:half]]))
        summary = _Summary.of(_Keyed.of(rows, keys, only=distinct[order[half:]]), directions)
        return cls(
            key_count=len(order),
            mean=mean.astype(np.float32),
            mean_noise=_noise(key_means, mean),
            spread=float(np.sqrt(chosen.means(np.square(chosen.rows - mean).sum(1, keepdims=True)).mean())),
            directions=directions,
            covariance=summary.covariance.astype(np.float32),
            rest=summary.rest,
            covariance_noise=summary.noise,
        )

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return len(self.mean)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far one moment has moved."""

    distance: float
    """Between the moment then and now, noise included."""
    noise_floor: float
    """What the distance would be if nothing had moved, in the same unit."""
    share: float
    """What has moved, noise taken off: of the mean as a share of the spread, of the covariance as a share of its own
    norm; 0 when the distance is within the noise."""

    @property
    def floors(self) -> float:
        """The distance in noise floors: about 1 when nothing has moved."""
        return self.distance / max(self.noise_floor, np.finfo(float).tiny)


@dataclass(frozen=True, kw_only=True)
class CloudDrift:
    """How one modality's vectors have moved."""

    key_count: int
    """Pair keys looked at now."""
    mean: Moved
    spectrum: Moved


def cloud_drift(then: CloudStatistics, rows: NDArray[np.floating[Any]], keys: NDArray[np.str_]) -> CloudDrift:
    """Compare vectors with statistics that were taken before.

    Args:
        then: Of the same raw space.
        rows: (n, d) raw embeddings.
        keys: (n,) pair keys.

    Raises:
        ShapeError: The vectors are of another dimension, or there is not one key for each row.
        NotEnoughItemsError: There are fewer than 16 keys.
    """
    distinct = _distinct(rows, keys)
    if rows.shape[1] != then.dimension:
        msg = f"vectors: dimension must be {then.dimension}, got {rows.shape[1]}"
        raise ShapeError(msg)
    now = _Keyed.of(rows, keys, only=distinct)
    key_means = now.means(now.rows)
    mean = key_means.mean(axis=0)
    summary = _Summary.of(now, then.directions)
    outside = _outside(then.directions)
    squared = float(
        np.square(summary.covariance - then.covariance).sum() + np.square(summary.rest - then.rest) / outside
    )
    norm = float(np.sqrt(np.square(then.covariance.astype(np.float64)).sum() + then.rest**2 / outside))
    return CloudDrift(
        key_count=len(distinct),
        mean=_moved(
            float(np.square(mean - then.mean).sum()), then.mean_noise + _noise(key_means, mean), scale=then.spread
        ),
        spectrum=_moved(squared, then.covariance_noise + summary.noise, scale=norm),
    )


def _moved(squared: float, noise: float, *, scale: float) -> Moved:
    moved = float(np.sqrt(max(squared - noise, 0.0)))
    return Moved(
        distance=float(np.sqrt(squared)),
        noise_floor=float(np.sqrt(noise)),
        share=moved / max(scale, np.finfo(float).tiny),
    )


def _distinct(rows: NDArray[np.floating[Any]], keys: NDArray[np.str_]) -> NDArray[np.str_]:
    if rows.ndim != _RANK or len(keys) != len(rows):
        msg = f"pair_key: need one for each of {len(rows)} vectors, got {len(keys)}"
        raise ShapeError(msg)
    distinct: NDArray[np.str_] = np.unique(keys)
    if len(distinct) < CLOUD_KEYS_MIN:
        msg = f"pairs: {len(distinct)} pair keys, at least {CLOUD_KEYS_MIN} to tell a drift from noise"
        raise NotEnoughItemsError(msg)
    return distinct


@dataclass(frozen=True)
class _Keyed:
    """Rows side by side with the others of their key."""

    rows: NDArray[np.float64]
    starts: NDArray[np.intp]
    """(K,) where each key begins."""
    counts: NDArray[np.intp]
    """(K,) rows of each key."""

    @classmethod
    def of(cls, rows: NDArray[np.floating[Any]], keys: NDArray[np.str_], *, only: NDArray[np.str_]) -> _Keyed:
        """Return the rows of some keys."""
        checkpoint()
        wanted = np.flatnonzero(np.isin(keys, only))
        _, owners, counts = np.unique(keys[wanted], return_inverse=True, return_counts=True)
        order = wanted[np.argsort(owners, kind="stable")]
        return cls(rows[order].astype(np.float64), np.cumsum(counts) - counts, counts)

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of (n, p) `values` over the rows of each key, (K, p)."""
        checkpoint()
        summed: NDArray[np.float64] = np.add.reduceat(values, self.starts, axis=0)
        return summed / self.counts[:, None]


@dataclass(frozen=True)
class _Summary:
    """A covariance in given directions, its trace outside, and how far chance moves both."""

    covariance: NDArray[np.float64]
    rest: float
    noise: float

    @classmethod
    def of(cls, keyed: _Keyed, directions: NDArray[np.float32]) -> _Summary:
        """Summarise rows around their own mean: a mean that moves is no change of the spectrum."""
        count, rank = len(keyed.counts), len(directions)
        centred = keyed.rows - keyed.means(keyed.rows).mean(axis=0)
        along = centred @ directions.T.astype(np.float64)
        total, squares = np.zeros(rank * rank + 1), 0.0
        for first in range(0, count, _BLOCK_KEYS):
            checkpoint()
            starts = keyed.starts[first : first + _BLOCK_KEYS]
            counts = keyed.counts[first : first + _BLOCK_KEYS]
            rows = slice(int(starts[0]), int(starts[-1] + counts[-1]))
            products = (along[rows, :, None] * along[rows, None, :]).reshape(-1, rank * rank)
            outside = np.square(centred[rows]).sum(1) - np.square(along[rows]).sum(1)
            entries = np.column_stack([products, outside / np.sqrt(_outside(directions))])
            per_key = np.add.reduceat(entries, starts - starts[0], axis=0) / counts[:, None]
            total += per_key.sum(axis=0)
            squares += float(np.square(per_key).sum())
        mean = total / count
        noise = max(squares / count - float(np.square(mean).sum()), 0.0) / (count - 1)
        mean *= count / (count - 1)  # the rows were centred on their own mean
        return cls(mean[:-1].reshape(rank, rank), float(mean[-1] * np.sqrt(_outside(directions))), noise)


def _directions(keyed: _Keyed) -> NDArray[np.float32]:
    """Return the first principal components, (r, d), rounded to float16 values."""
    weighted = (keyed.rows - keyed.means(keyed.rows).mean(axis=0)) / np.sqrt(np.repeat(keyed.counts, keyed.counts))[
        :, None
    ]
    checkpoint()
    dimension = weighted.shape[1]
    rank = min(CLOUD_RANK, dimension, len(keyed.counts) - 1)
    _, vectors = scipy.linalg.eigh(weighted.T @ weighted, subset_by_index=(dimension - rank, dimension - 1))
    components = vectors[:, ::-1].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    # LAPACK is free to choose a sign, an artefact is not.
    rounded: NDArray[np.float32] = (components * np.where(largest < 0.0, -1.0, 1.0)).astype(np.float16)
    return rounded.astype(np.float32)


def _outside(directions: NDArray[np.float32]) -> int:
    """Return the number of dimensions outside of the directions; at least 1, to divide by."""
    return max(int(directions.shape[1]) - len(directions), 1)


def _noise(key_means: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    """Return the expected squared distance of the mean of (K, d) observations from the true one."""
    count = len(key_means)
    return float(np.square(key_means - mean).sum() / (count * (count - 1)))
