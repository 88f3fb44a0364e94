"""Which rows of a snapshot are worth a look: some pairs, and what has changed. All of it is work of Arrow and numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.model import Followed
from isthmus.index.roster import Roster
from isthmus.index.search_pool import SearchPool
from isthmus.index.segments import LiveSegment
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.limits import MEASURE_SAMPLE_MAX_COUNT

__all__ = ["PairSampling", "changed_count", "list_followed", "sampled_row_ids"]

_OTHER_FACTOR: Final = 5


@dataclass(frozen=True, slots=True)
class PairSampling:
    """How many pairs to read, and which.

    Attributes:
        count: Items of the modality with fewer, 1 to 5,000; of the other one at most five times as many.
        seed: Of the choice.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the count."""
        if not 1 <= self.count <= MEASURE_SAMPLE_MAX_COUNT:
            msg = f"sample_count must be 1 to {MEASURE_SAMPLE_MAX_COUNT}; it is {self.count}"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "sample_count"})


def sampled_row_ids(snapshot: Snapshot, sampling: PairSampling) -> dict[Modality, NDArray[np.int64]]:
    """Return where the chosen items of each modality lie in the store, ascending.

    Items of the modality with fewer are chosen at random; of the other modality those with their pair keys.
    """
    rng = np.random.default_rng(sampling.seed)
    keyed = {modality: _keyed_rows(snapshot.segments[modality]) for modality in Modality}
    base = min(Modality, key=lambda modality: sum(map(len, keyed[modality])))
    drawn = _drawn(keyed[base], sampling.count, rng)
    parts = snapshot.segments[base]
    # Python sees the few keys that were drawn; the many of the other modality are compared in Arrow.
    keys = pa.array(
        {
            key
            for part, rows in zip(parts, drawn, strict=True)
            for key in _pair_keys(part).take(pa.array(rows)).to_pylist()
        },
        pa.string(),
    )
    other = snapshot.segments[base.other]
    matching = [
        rows[pc.is_in(_pair_keys(part), value_set=keys).to_numpy(zero_copy_only=False)[rows]]
        for part, rows in zip(other, keyed[base.other], strict=True)
    ]
    return {
        base: _row_ids(parts, drawn),
        base.other: _row_ids(other, _drawn(matching, _OTHER_FACTOR * sampling.count, rng)),
    }


async def list_followed(
    roster: Roster, known: Mapping[tuple[str, str], int], *, pool: SearchPool
) -> tuple[Followed, ...]:
    """Return the collections of every tenant that are loaded, by tenant and name.

    Args:
        roster: Of the searcher.
        known: Revisions that the caller knows, by tenant and name.
        pool: Counts what has changed since.

    Raises:
        ResourceExhaustedError: OVERLOADED.
    """
    found = []
    for follower in sorted(roster, key=lambda one: (one.tenant, one.entry.name)):
        if not follower.loaded:
            continue
        snapshot = follower.snapshot()
        revision = known.get((follower.tenant, follower.entry.name), 0)
        count = 0 if revision else sum(map(snapshot.count, Modality))
        if 0 < revision < snapshot.revision:
            count = await pool.run(partial(changed_count, snapshot, revision))
        found.append(
            Followed(tenant=follower.tenant, uid=follower.entry.uuid, info=snapshot.info(), changed_count=count)
        )
    return tuple(found)


def changed_count(snapshot: Snapshot, revision: int) -> int:
    """Return how many live items were stored above `revision`."""
    return sum(
        int((part.segment.items["revision"].to_numpy()[part.live_rows] > revision).sum())
        for parts in snapshot.segments.values()
        for part in parts
    )


def _pair_keys(part: LiveSegment) -> pa.StringArray:
    return part.segment.items["pair_key"].chunk(0)


def _keyed_rows(parts: tuple[LiveSegment, ...]) -> list[NDArray[np.int64]]:
    """Return the live rows of each segment that have a pair key."""
    return [part.live_rows[part.segment.has_pair_key[part.live_rows]] for part in parts]


def _drawn(rows: list[NDArray[np.int64]], count: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return at most `count` of all these rows, still by segment."""
    total = sum(map(len, rows))
    if total <= count:
        return rows
    chosen = np.sort(rng.choice(total, size=count, replace=False))
    ends = np.cumsum([len(some) for some in rows])
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    return [some[part - (end - len(some))] for some, part, end in zip(rows, parts, ends, strict=True)]


def _row_ids(parts: tuple[LiveSegment, ...], rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = [part.segment.row_ids[some] for part, some in zip(parts, rows, strict=True)]
    return np.sort(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
