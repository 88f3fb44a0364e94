"""Items of other shards that the estimate of a calibration looks at.

A calibration that was not fitted is estimated from the 1,000 items of each modality whose ids have the smallest keyed
hash, of the whole collection. A shard reads every event anyway, so beside its own items it keeps those of the others
that may belong to that sample: all up to a bound on the hash, and twice as many as the sample needs, so that deletions
seldom use them up. With them every shard estimates what a searcher of the whole collection would, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.calibration import SAMPLE_LIMIT
from isthmus.core.sampling import keyed_hashes
from isthmus.index.segments import CALIBRATION_SEED, LiveSegment, merge_segments

__all__ = ["Guests"]

_KEPT_COUNT: Final = 2 * SAMPLE_LIMIT
"""Guests of a modality that are left when there are too many."""
_PARTS_MAX_COUNT: Final = 8


@dataclass(frozen=True, slots=True)
class Guests:
    """Items of one modality that belong to other shards. Immutable.

    Attributes:
        parts: Where they are.
        horizon: Every item of another shard whose hash is at most this is here; None means every item.
    """

    parts: tuple[LiveSegment, ...] = ()
    horizon: int | None = None

    @property
    def suffice(self) -> bool:
        """Whether a sample of the collection can be drawn from these and from the shard's own items."""
        return self.horizon is None or sum(part.live_count for part in self.parts) >= SAMPLE_LIMIT

    def without(self, ids: list[str]) -> Guests:
        """Return those that are left once these items are gone."""
        parts = (part.without(part.find(ids)) for part in self.parts)
        return Guests(tuple(part for part in parts if part.live_count), self.horizon)

    def joined(self, rows: pa.Table, build: Callable[[pa.Table], list[LiveSegment]]) -> Guests:
        """Return these and those of `rows` that may belong to a sample.

        Args:
            rows: Of items of other shards that are not here, with their ids.
            build: Makes segments of such rows.
        """
        if self.horizon is not None:
            rows = rows.take(pa.array(np.flatnonzero(_hashes(rows["id"].to_pylist()) <= self.horizon)))
        if not rows.num_rows:
            return self
        parts = (*self.parts, *build(rows))
        count = sum(part.live_count for part in parts)
        if count <= 2 * _KEPT_COUNT and len(parts) <= _PARTS_MAX_COUNT:
            return Guests(parts, self.horizon)
        return _trimmed(parts, self.horizon, count)


def _trimmed(parts: tuple[LiveSegment, ...], horizon: int | None, count: int) -> Guests:
    if count > _KEPT_COUNT:
        hashes = [_hashes([part.segment.id_at(row) for row in part.live_rows.tolist()]) for part in parts]
        horizon = int(np.partition(np.concatenate(hashes), _KEPT_COUNT - 1)[_KEPT_COUNT - 1])
        parts = tuple(part.without(part.live_rows[of > horizon]) for part, of in zip(parts, hashes, strict=True))
    merged = merge_segments(parts)
    return Guests(() if merged is None else (merged,), horizon)


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    return keyed_hashes(ids, seed=CALIBRATION_SEED)
