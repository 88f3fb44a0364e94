"""Make snapshots: from the store from scratch, or from an older snapshot and the events since."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.calibration import Calibration
from isthmus.core.modality import Modality
from isthmus.index.aligner_files import stored_aligner
from isthmus.index.cache.recall import Recall
from isthmus.index.events import MODALITY_CODES, SHADOW_ID, Op, embedding_rows, unpack_aligner, verify_rows
from isthmus.index.guests import Guests
from isthmus.index.membership import in_sorted
from isthmus.index.model import CollectionSettings
from isthmus.index.segments import ITEM_COLUMNS, SEGMENT_MAX_ROWS, LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from isthmus.index.store import LOAD_COLUMNS, EventView
from isthmus.index.table import ROW_ID
from isthmus.runtime.base.shards import WHOLE, Shard

__all__ = ["catch_up", "load_snapshot"]

_ALIGN_ROWS: Final = 8192
"""Rows aligned at once: bounds what a rebuild holds beside the structures themselves."""
_ALIGN_MIN_ROWS: Final = 32
"""Rows aligned at once at least. OpenBLAS 0.3 on x86-64 adds up 1 to 3 rows in another order, 5 to 1,500 alike."""


def load_snapshot(
    name: str,
    settings: CollectionSettings,
    view: EventView,
    *,
    admit_shadow: Callable[[Aligner | None], None] | None = None,
    shard: Shard = WHOLE,
    recall: Recall | None = None,
) -> Snapshot:
    """Read a collection from its events.

    Every row is checked against its digest, the superseded ones too: a damaged row might claim to be an older version
    of something else.

    Args:
        name: Of the collection.
        settings: Of the collection.
        view: What to read.
        admit_shadow: Build for the shadow aligner in place of the active one; called with it before any item is read,
            what it raises ends the work.
        shard: Keep its items only.
        recall: Says what needs not be read.

    Raises:
        DataLossError: STORE_DAMAGED.
    """
    heads = view.heads()
    shadow = None if heads.shadow_row is None else view.take(np.array([heads.shadow_row]))
    chosen = view.take(np.array([heads.settings_row])) if admit_shadow is None else shadow
    files = None if chosen is None else unpack_aligner(chosen["payload"][0].as_py())
    aligner = None if files is None else stored_aligner(files)
    if admit_shadow is not None:
        admit_shadow(aligner)
    builders = {modality: _SegmentBuilder(modality, settings, aligner) for modality in Modality}
    guests = dict.fromkeys(settings.modalities, Guests()) if _wants_guests(settings, aligner, shard) else {}
    recalled = None if recall is None else recall(view, heads, aligner)
    for rows in _verified_rows(view) if recalled is None else recalled.rest():
        live = rows.take(pa.array(np.flatnonzero(in_sorted(rows[ROW_ID].to_numpy(), heads.item_rows))))
        own, others = _split(live, shard)
        for modality, of_modality in _by_modality(own):
            builders[modality].add(of_modality)
        guests = _with_guests(guests, others, settings, aligner)
    return Snapshot(
        name=name,
        settings=settings,
        revision=heads.revision,
        view=view,
        aligner=aligner,
        segments={
            modality: (*(recalled.segments[modality] if recalled else ()), *builder.finish())
            for modality, builder in builders.items()
        },
        calibration=_first_calibration(aligner),
        structures=recalled.structures if recalled else {},
        shadow="" if shadow is None else shadow["space"][0].as_py(),
        shard=shard,
        guests=guests,
    )


def catch_up(snapshot: Snapshot, view: EventView, *, is_shadow: bool = False) -> Snapshot:
    """Bring a snapshot to a newer version of the store by the events above its revision.

    A change of the active aligner is the one thing that cannot be added to what is there: everything is built anew,
    beside it. A snapshot of the shadow aligner is brought along likewise, by whoever knows that its aligner stays.

    Raises:
        DataLossError: STORE_DAMAGED.
    """
    news = view.since(snapshot.revision, known_fragment_ids=snapshot.view.fragment_ids)
    events = news.events
    if not events.num_rows and news.heads is None:
        return replace(snapshot, view=view)
    ops = events["op"].to_numpy()
    if not is_shadow and (ops == Op.SETTINGS).any():
        return load_snapshot(snapshot.name, snapshot.settings, view, shard=snapshot.shard)
    # Oldest first, and a dict keeps the last value of a key: the newest event of each id.
    newest = dict(zip(events["id"].to_pylist(), range(events.num_rows), strict=True))
    ids, revision = list(newest), int(events["revision"].to_numpy().max(initial=snapshot.revision))
    if news.heads is not None:
        # Deletions may have been folded away, so what is gone shows by its absence.
        held = [*snapshot.segments.values(), *(known.parts for known in snapshot.guests.values())]
        ids += _absent(itertools.chain.from_iterable(held), news.heads.item_rows)
        revision = news.heads.revision
    segments = {
        modality: [part.without(part.find(ids)) for part in parts] for modality, parts in snapshot.segments.items()
    }
    places = np.sort(np.fromiter(newest.values(), dtype=np.int64, count=len(newest)))
    upserts = events.take(pa.array(places[ops[places] == Op.UPSERT]))
    own, others = _split(upserts, snapshot.shard)
    guests = {modality: known.without(ids) for modality, known in snapshot.guests.items()}
    guests = _with_guests(guests, others, snapshot.settings, snapshot.aligner)
    if not all(known.suffice for known in guests.values()):
        return load_snapshot(snapshot.name, snapshot.settings, view, shard=snapshot.shard)
    for modality, rows in _by_modality(own):
        builder = _SegmentBuilder(modality, snapshot.settings, snapshot.aligner)
        builder.add(rows)
        segments[modality].extend(builder.finish())
    return replace(
        snapshot,
        revision=revision,
        view=view,
        segments={modality: tuple(part for part in parts if part.live_count) for modality, parts in segments.items()},
        shadow=events["space"][newest[SHADOW_ID]].as_py() if SHADOW_ID in newest else snapshot.shadow,
        guests=guests,
    )


def _split(rows: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table]:
    """Return the rows of a shard's items, and those of the others."""
    if shard.is_whole:
        return rows, rows.slice(0, 0)
    held = pa.array(shard.holds(rows["id"].to_pylist()), pa.bool_())
    return rows.filter(held), rows.filter(pc.invert(held))


def _wants_guests(settings: CollectionSettings, aligner: Aligner | None, shard: Shard) -> bool:
    """Return whether a shard's calibration is an estimate, for which it needs items of other shards."""
    if shard.is_whole or len(settings.modalities) < len(Modality):
        return False
    return not settings.needs_aligner if aligner is None else aligner.calibration is None


def _with_guests(
    guests: Mapping[Modality, Guests], rows: pa.Table, settings: CollectionSettings, aligner: Aligner | None
) -> dict[Modality, Guests]:
    found = dict(guests)
    if found:
        for modality, of_modality in _by_modality(rows):
            found[modality] = found[modality].joined(of_modality, partial(_segments_of, modality, settings, aligner))
    return found


def _segments_of(
    modality: Modality, settings: CollectionSettings, aligner: Aligner | None, rows: pa.Table
) -> list[LiveSegment]:
    builder = _SegmentBuilder(modality, settings, aligner)
    builder.add(rows)
    return builder.finish()


def _verified_rows(view: EventView) -> Iterator[pa.Table]:
    for batch in view.scan(LOAD_COLUMNS):
        rows = pa.Table.from_batches([batch])
        verify_rows(rows)
        yield rows


class _SegmentBuilder:
    """Collects rows of one modality into segments of bounded size."""

    def __init__(self, modality: Modality, settings: CollectionSettings, aligner: Aligner | None) -> None:
        self._modality = modality
        self._dimension = settings.dimension(modality)
        self._aligner = aligner
        self._vectors: list[NDArray[np.float32]] = []
        self._items: list[pa.Table] = []
        self._rows = 0
        self._done: list[LiveSegment] = []

    def add(self, rows: pa.Table) -> None:
        """Take rows with their raw embeddings."""
        for start in range(0, rows.num_rows, _ALIGN_ROWS):
            part = rows.slice(start, _ALIGN_ROWS)
            raw = embedding_rows(part["embedding"], self._dimension)
            self._vectors.append(raw if self._aligner is None else _aligned(self._aligner, raw, self._modality))
            # A copy: a slice would keep the whole batch, embeddings and all, in memory.
            self._items.append(part.select(ITEM_COLUMNS).take(pa.array(np.arange(part.num_rows))))
            self._rows += part.num_rows
            if self._rows + _ALIGN_ROWS > SEGMENT_MAX_ROWS:
                self._close_segment()

    def finish(self) -> list[LiveSegment]:
        """Return the segments."""
        self._close_segment()
        return self._done

    def _close_segment(self) -> None:
        if self._rows:
            segment = Segment(self._modality, self._vectors, pa.concat_tables(self._items))
            self._done.append(LiveSegment(segment))
        self._vectors, self._items, self._rows = [], [], 0


def _aligned(aligner: Aligner, raw: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
    """Return item rows, each equal to the last bit whatever other rows it is aligned with.

    A product of few rows goes another way through BLAS, which adds up in another order; of more rows, each is added up
    alike. So few are filled up.
    """
    missing = max(0, _ALIGN_MIN_ROWS - len(raw))
    filled = np.concatenate([raw, np.repeat(raw[-1:], missing, axis=0)]) if missing else raw
    return aligner.item_rows(filled, modality)[: len(raw)]


def _first_calibration(aligner: Aligner | None) -> Calibration:
    fitted = None if aligner is None else aligner.calibration
    return Calibration.default() if fitted is None else fitted


def _by_modality(rows: pa.Table) -> Iterator[tuple[Modality, pa.Table]]:
    codes = rows["modality"].to_numpy()
    for modality, code in MODALITY_CODES.items():
        places = np.flatnonzero(codes == code)
        if len(places):
            yield modality, rows.take(pa.array(places))


def _absent(parts: Iterable[LiveSegment], item_rows: NDArray[np.int64]) -> list[str]:
    """Return the ids of live items that are not among those that lie at `item_rows` in the store."""
    absent = []
    for part in parts:
        live = part.live_rows
        gone = live[~in_sorted(part.segment.row_ids[live], item_rows)]
        absent += [part.segment.id_at(row) for row in gone.tolist()]
    return absent
