"""Which rows of a store need not be read, because files hold what was made of them.

A row of a file counts only where the store has, under the same row id, an upsert of equal id, revision and digest. By
that digest it was verified when it was read from the store, and the file's checksum says that nothing happened to it
since. Every row of the store that is in no file, superseded or deleted as it may be, is read and verified as without
files: which event of an id is the newest is told by columns that only a row's digest proves. A row that the store has
no more because it was folded away (see `folds`) counts no more; where it may have been erased, its file is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from isthmus.core.aligners import Aligner
from isthmus.core.modality import Modality
from isthmus.index.cache.census import Census
from isthmus.index.cache.segment_file import SavedSegment
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.store import EventHeads, EventView
from isthmus.index.structure_state import StructureReport

__all__ = ["Recall", "Recalled", "recalled"]


@dataclass(frozen=True, slots=True)
class Recalled:
    """What of a collection was read from files.

    Attributes:
        segments: Oldest first; an item is live in one at most.
        structures: What was told of their structures.
        rest: Yields the other rows of the store, verified.
    """

    segments: Mapping[Modality, tuple[LiveSegment, ...]]
    structures: Mapping[Modality, StructureReport]
    rest: Callable[[], Iterator[pa.Table]]


Recall: TypeAlias = Callable[[EventView, EventHeads, Aligner | None], Recalled | None]
"""Returns what is there of a collection under its active aligner; None when that is nothing."""


def recalled(
    view: EventView,
    heads: EventHeads,
    saved: Iterable[SavedSegment],
    *,
    refuse: Callable[[Segment], None],
    renew: Callable[[Segment], None],
) -> Recalled | None:
    """Take what the store still holds of segments that were read from files.

    Args:
        view: The store.
        heads: Which of its rows count.
        saved: From files.
        refuse: Called with each segment that is of no use: rows of it are others in the store, or were erased, or none
            counts that is not in another segment already.
        renew: Called with each segment whose file holds rows that were folded away.

    Raises:
        DataLossError: STORE_DAMAGED.
        OSError: the store cannot be read.
    """
    census = Census.of(view)
    known = np.zeros(len(census.row_ids), dtype=np.bool_)
    taken = np.zeros(len(census.row_ids), dtype=np.bool_)
    counts = np.isin(census.row_ids, heads.item_rows, assume_unique=True, kind="sort")
    found: dict[Modality, list[LiveSegment]] = {modality: [] for modality in Modality}
    structures: dict[Modality, StructureReport] = {}
    # The largest first: what was merged into it may still be there too.
    for entry in sorted(saved, key=lambda entry: -entry.segment.rows):
        segment = entry.segment
        places = census.match(entry.items, fold=heads.fold)
        if places is None:
            refuse(segment)
            continue
        there = places >= 0
        known[places[there]] = True
        part = LiveSegment(segment).without(np.flatnonzero(~(there & counts[places] & ~taken[places])))
        if not part.live_count:
            refuse(segment)
            continue
        taken[places[part.live_rows]] = True
        found[segment.modality].append(part)
        if entry.report is not None:
            structures.setdefault(segment.modality, entry.report)
        if not there.all():
            renew(segment)
    if not known.any():
        return None
    segments = {
        modality: tuple(sorted(parts, key=lambda part: int(part.segment.row_ids.min())))
        for modality, parts in found.items()
    }
    return Recalled(segments, structures, lambda: census.read(census.row_ids[~known]))
