"""A collection at one revision, as a searcher holds it in memory. Immutable: to follow the store is to make another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.calibration import Calibration
from isthmus.core.modality import Modality
from isthmus.core.notes import value_text
from isthmus.index.guests import Guests
from isthmus.index.model import (
    CollectionInfo,
    CollectionSettings,
    ItemView,
    attributes_from_json,
)
from isthmus.index.segments import SEGMENT_MAX_ROWS, LiveSegment, Segment
from isthmus.index.store import EventView
from isthmus.index.structure_state import StructureReport
from isthmus.runtime.base.shards import WHOLE, Shard

__all__ = ["Merge", "Place", "Snapshot", "plan_merge"]

_GROWTH: Final = 2
"""An elder segment is merged while it is at most this many times as large as what is younger."""
_DEAD_SHARE_MAX: Final = 0.25
"""Share of dead rows above which a segment is written anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item is in a snapshot.

    Attributes:
        segment: Of the snapshot.
        row: In the segment.
    """

    segment: Segment
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A collection at one revision."""

    name: str
    settings: CollectionSettings
    revision: int
    view: EventView
    """The store at the version this was read from."""
    aligner: Aligner | None
    segments: Mapping[Modality, tuple[LiveSegment, ...]]
    """Oldest first; an item is live in one segment at most."""
    calibration: Calibration
    """Fitted with the aligner, or estimated from the items, or the default."""
    structures: Mapping[Modality, StructureReport] = field(default_factory=dict)
    """What is to be told of the structures of its segments; all vectors of a modality not among them are searched."""
    shadow: str = ""
    """Aligned space of the aligner that is compared with the active one; empty when there is none."""
    shard: Shard = WHOLE
    """The part of the collection that this holds."""
    guests: Mapping[Modality, Guests] = field(default_factory=dict)
    """Items of other shards, where the calibration has to be estimated from those too."""

    def count(self, modality: Modality) -> int:
        """Return the number of live items."""
        return sum(part.live_count for part in self.segments[modality])

    def space(self, modality: Modality) -> str:
        """Return the space that its items of a modality are searched in."""
        return self.settings.space(modality) if self.aligner is None else self.aligner.space

    def info(self) -> CollectionInfo:
        """Describe the collection."""
        return CollectionInfo(
            name=self.name,
            settings=self.settings,
            aligner="" if self.aligner is None else self.aligner.space,
            revision=self.revision,
            image_count=self.count(Modality.IMAGE),
            text_count=self.count(Modality.TEXT),
            shadow_aligner=self.shadow,
        )

    def query_rows(self, raw: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return what the structures are asked with for raw vectors, (n, d) float32."""
        return raw if self.aligner is None else self.aligner.query_rows(raw, modality)

    def find(self, ids: Sequence[str]) -> list[Place | None]:
        """Return where each id is, None where it is not."""
        places: list[Place | None] = [None] * len(ids)
        for part in self._parts():
            rows = part.find(ids)
            for position in np.flatnonzero(rows >= 0).tolist():
                places[position] = Place(part.segment, int(rows[position]))
        return places

    def live_row_ids(self, modality: Modality, *, paired_only: bool = False) -> NDArray[np.int64]:
        """Return where the live items of a modality lie in the store, ascending.

        Args:
            modality: Of the items.
            paired_only: Leave out those without a pair key.
        """
        found = []
        for part in self.segments[modality]:
            rows = part.live_rows
            if paired_only:
                rows = rows[part.segment.has_pair_key[rows]]
            found.append(part.segment.row_ids[rows])
        return np.sort(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def item(self, segment: Segment, row: int) -> ItemView:
        """Return an item without embedding and thumbnail."""
        attributes, words = attributes_from_json(segment.value("attributes", row))
        return ItemView(
            id=segment.id_at(row),
            modality=segment.modality,
            attributes=attributes,
            pair_key=segment.value("pair_key", row),
            space=self.settings.space(segment.modality),
            content_digest=segment.value("content_digest", row),
            revision=segment.value("revision", row),
            content_words=words,
        )

    def attribute_values(self, attribute: str) -> set[str]:
        """Return the different values that its items have of an attribute, as text."""
        return {
            value_text(value)
            for part in self._parts()
            for value in part.segment.attributes.distinct(attribute, part.live)
        } - {""}

    def _parts(self) -> Iterator[LiveSegment]:
        for modality in Modality:
            yield from self.segments[modality]


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments copied into one, to take their place in whatever snapshot is the newest by then.

    Attributes:
        parts: What was copied, as it was then.
        merged: The copy; None when no row was left.
    """

    parts: tuple[LiveSegment, ...]
    merged: LiveSegment | None

    def apply(self, segments: tuple[LiveSegment, ...]) -> tuple[LiveSegment, ...]:
        """Return `segments` with the copy in place of its parts; unchanged when they are not all there any more."""
        now = {id(part.segment): part for part in segments}
        if any(id(part.segment) not in now for part in self.parts):
            return segments
        copied = {id(part.segment) for part in self.parts}
        merged = self.merged
        if merged is not None:
            died = [item_id for part in self.parts for item_id in part.ids_dead_in(now[id(part.segment)])]
            merged = merged.without(merged.find(died))
        first = next(number for number, part in enumerate(segments) if id(part.segment) in copied)
        replaced = [part for part in segments if id(part.segment) not in copied]
        if merged is not None and merged.live_count:
            replaced.insert(first, merged)
        return tuple(replaced)


def plan_merge(parts: Sequence[LiveSegment]) -> tuple[LiveSegment, ...]:
    """Choose which segments of one modality to copy into one, so that there are few and each row is copied seldom.

    The youngest are merged with their elders while these are at most twice as large as all that is younger; a segment
    with too many dead rows is copied by itself. Segments of SEGMENT_MAX_ROWS stay apart.

    Returns:
        Neighbours in `parts`; empty when nothing is due.
    """
    for part in parts:
        if part.dead_count > _DEAD_SHARE_MAX * part.segment.rows:
            return (part,)
    run: list[LiveSegment] = []
    rows = 0
    for part in reversed(parts):
        if run and (part.live_count > _GROWTH * rows or part.live_count + rows > SEGMENT_MAX_ROWS):
            break
        run.insert(0, part)
        rows += part.live_count
    return tuple(run) if len(run) > 1 else ()
