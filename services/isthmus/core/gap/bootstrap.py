"""Intervals by resampling pair keys: five captions of a photo are one observation, not five."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.gap.corpus import Corpus
from isthmus.core.modality import Modality

__all__ = ["REPLICATE_COUNT", "ClusterBootstrap", "Figure", "resampled_means"]

REPLICATE_COUNT: Final = 500
"""Resampled corpora behind each interval."""

_BLOCK_REPLICATES: Final = 50
_TAIL: Final = 0.025
_NORMAL_QUANTILE: Final = 1.959964


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value with its uncertainty."""

    value: float
    """What was measured."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    noise_floor: float | None = None
    """The same measure between two halves of one modality, the larger of both: what no gap at all would show."""

    def to_dict(self) -> dict[str, float | None]:
        """Return plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "noise_floor": self.noise_floor}


class ClusterBootstrap:
    """Resamples the pair keys of a corpus; the same keys in the same replicate for every measure.

    Two kinds of interval, because resampling with replacement adds duplicates that bias any distance between
    distributions upwards: means and ratios of means take the percentiles of their replicates; distances take
    value ± 1.96 standard errors, from replicates of their first-order expansion (influence values; for a transport
    cost these are its potentials).

    Args:
        corpus: What is measured.
        seed: Seed of the resampling.
        replicate_count: How many.
    """

    def __init__(self, corpus: Corpus, *, seed: int, replicate_count: int = REPLICATE_COUNT) -> None:
        codes = np.concatenate([corpus.codes[modality] for modality in Modality])
        clusters, inverse = np.unique(codes, return_inverse=True)
        self._cluster_count = len(clusters)
        split = len(corpus.images)
        self._cluster: Mapping[Modality, NDArray[np.intp]] = {
            Modality.IMAGE: inverse[:split],
            Modality.TEXT: inverse[split:],
        }
        self._drawn = _draws(self._cluster_count, seed=seed, replicate_count=replicate_count)

    def item_weights(self, modality: Modality, *, replicate_count: int | None = None) -> Iterator[NDArray[np.float64]]:
        """Yield blocks of (replicates, n): how often each item of `modality` was drawn.

        Args:
            modality: Whose items.
            replicate_count: How many replicates in all; None for every one.
        """
        for block in self._blocks(replicate_count):
            yield block[:, self._cluster[modality]]

    def replicate_means(self, values: NDArray[Any], modality: Modality) -> NDArray[np.float64]:
        """Return (replicates,) means of (n,) `values`, one an item of `modality`; items without a value hold NaN."""
        known = np.isfinite(values)
        sums = self._per_cluster(np.where(known, values, 0.0), modality)
        counts = self._per_cluster(known.astype(np.float64), modality)
        drawn_sums, drawn_counts = self._drawn_sums(np.stack([sums, counts], axis=1)).T
        # A replicate without a single known value says nothing: it repeats the mean.
        whole = sums.sum() / max(counts.sum(), 1.0)
        means: NDArray[np.float64] = np.where(drawn_counts > 0, drawn_sums / np.maximum(drawn_counts, 1.0), whole)
        return means

    def mean(self, values: NDArray[Any], modality: Modality, *, noise_floor: float | None = None) -> Figure:
        """Return the mean of (n,) `values` with its percentile interval; items without a value hold NaN."""
        known = values[np.isfinite(values)]
        return percentile_figure(
            float(known.mean()) if len(known) else 0.0,
            self.replicate_means(values, modality),
            noise_floor=noise_floor,
        )

    def expanded(
        self,
        value: float,
        influence: Mapping[Modality, NDArray[Any]],
        *,
        noise_floor: float | None = None,
        lowest: float = -np.inf,
    ) -> Figure:
        """Return `value` with the interval of its first-order expansion.

        Args:
            value: The measure on the whole corpus.
            influence: Per modality (n,) derivative of the measure in the weight of each item.
            noise_floor: Passed on.
            lowest: The interval never reaches below it.
        """
        change = np.zeros(len(self._drawn))
        for modality, values in influence.items():
            centred = np.asarray(values, dtype=np.float64) - np.mean(values, dtype=np.float64)
            change += self._drawn_sums(self._per_cluster(centred, modality)) / len(values)
        return standard_error_figure(value, change, noise_floor=noise_floor, lowest=lowest)

    def _drawn_sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for each replicate the sum of (clusters, …) `values` over the clusters that were drawn."""
        return np.concatenate([block @ values for block in self._blocks()])

    def _blocks(self, replicate_count: int | None = None) -> Iterator[NDArray[np.float64]]:
        """Yield how often each cluster was drawn, a few replicates at a time: all of them as floats would be large."""
        drawn = self._drawn[:replicate_count]
        for start in range(0, len(drawn), _BLOCK_REPLICATES):
            checkpoint()
            yield drawn[start : start + _BLOCK_REPLICATES].astype(np.float64)

    def _per_cluster(self, values: NDArray[Any], modality: Modality) -> NDArray[np.float64]:
        sums = np.zeros(self._cluster_count)
        np.add.at(sums, self._cluster[modality], values)
        return sums


def resampled_means(values: NDArray[Any], codes: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Return (replicates,) means of (n,) `values` where there is no corpus, only what is resampled together.

    Args:
        values: (n,) finite numbers, n at least 1.
        codes: (n,) equal codes are drawn together.
        seed: Seed of the resampling.
    """
    clusters, inverse = np.unique(codes, return_inverse=True)
    sums = np.bincount(inverse, weights=values, minlength=len(clusters))
    counts = np.bincount(inverse, minlength=len(clusters)).astype(np.float64)
    drawn = _draws(len(clusters), seed=seed, replicate_count=REPLICATE_COUNT)
    means = [
        (block @ sums) / (block @ counts)
        for start in range(0, len(drawn), _BLOCK_REPLICATES)
        for block in (drawn[start : start + _BLOCK_REPLICATES].astype(np.float64),)
    ]
    return np.concatenate(means)


def _draws(cluster_count: int, *, seed: int, replicate_count: int) -> NDArray[np.uint8]:
    """Return (replicates, clusters): how often each cluster is drawn, with replacement."""
    rng = np.random.default_rng(seed)
    counts = np.empty((replicate_count, cluster_count), dtype=np.uint8)
    for replicate in counts:
        checkpoint()
        drawn = rng.integers(0, cluster_count, size=cluster_count)
        # How often one key is drawn is a Poisson count of mean 1: 255 is never reached.
        replicate[:] = np.bincount(drawn, minlength=cluster_count)
    return counts


def percentile_figure(value: float, replicates: NDArray[np.float64], *, noise_floor: float | None = None) -> Figure:
    """Return a figure whose interval holds the middle 95 % of the replicates, and the value itself."""
    low, high = np.quantile(replicates, [_TAIL, 1.0 - _TAIL])
    return Figure(value=value, low=min(float(low), value), high=max(float(high), value), noise_floor=noise_floor)


def standard_error_figure(
    value: float, replicates: NDArray[np.float64], *, noise_floor: float | None = None, lowest: float = -np.inf
) -> Figure:
    """Return a figure whose interval is 1.96 standard deviations of the replicates to each side."""
    reach = _NORMAL_QUANTILE * float(replicates.std(ddof=1))
    return Figure(value=value, low=max(value - reach, lowest), high=value + reach, noise_floor=noise_floor)
