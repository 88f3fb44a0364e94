"""A collection with cache files, as the tests of the cache share it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.cache.collection import CollectionCache
from isthmus.index.catalog import CatalogEntry, StorePaths, read_catalog
from isthmus.index.engine import WriterEngine
from isthmus.index.follower import Follower
from isthmus.index.ranking import Question, rank_snapshot
from isthmus.index.segments import LiveSegment
from isthmus.index.snapshot import Snapshot
from isthmus.index.structure_state import StructureReport, StructureState
from isthmus.index.structures import Arranged, Effort, build
from isthmus.index.table import AppendTable
from isthmus.runtime.base.object_store import ObjectStore
from isthmus.runtime.base.structure_kinds import Kind
from tests.unit.index.support import (
    DIMENSION,
    SPACE,
    TENANT,
    center,
    create,
    images,
    request_id,
    running_writer,
    texts,
    upsert,
    vectors,
)

__all__ = ["IMAGES", "QUERIES", "TEXTS", "Saved", "answers", "arranged", "brute_force", "change", "contents", "fill"]

IMAGES: Final = 1_500
"""Of so many a segment is worth a file."""
TEXTS: Final = 40
"""And of so few it is not."""
QUERIES: Final = vectors(7, 8)


@dataclass(frozen=True)
class Saved:
    """A store with one collection, and a folder of cache files."""

    paths: StorePaths
    entry: CatalogEntry
    folder: Path

    @classmethod
    def at(cls, root: Path, folder: Path) -> Saved:
        """Find the collection of a store that `fill` made."""
        paths = StorePaths.at(root, ObjectStore())
        catalog = AppendTable.open(paths.catalog(TENANT), durable=False)
        return cls(paths, read_catalog(catalog.view())["things"], folder)

    @property
    def cache(self) -> CollectionCache:
        """The cache, as a process that starts sees it."""
        return CollectionCache(self.folder, self.entry.uuid, self.entry.settings, is_owner=True)

    def load(self, *, cache: CollectionCache | None = None) -> Follower:
        """Return a follower that has loaded the collection; what a searcher itself runs."""
        follower = Follower(TENANT, self.entry, self.paths, recall=None if cache is None else cache.recall)
        follower.follow()
        return follower

    def save(self, kind: Kind = Kind.FLAT_FLOAT32) -> None:
        """Write cache files of the collection as it is loaded from the store, its images searched by a kind."""
        follower = self.load()
        found = follower.snapshot()
        if kind is not Kind.FLAT_FLOAT32:
            found = arranged(found, kind)
        self.cache.save(found, follower.fresh_view(), reserve_bytes=0)

    @property
    def files(self) -> list[Path]:
        """The cache files."""
        return sorted(self.folder.glob("*.cache")) if self.folder.exists() else []


def fill(root: Path, *, seed: int = 0) -> None:
    """Make a store: 1,500 images in two mutations, 40 texts; three items deleted, some stored a second time."""

    async def write() -> None:
        async with running_writer(root) as writer:
            await create(writer, aligner=center())
            for start in (0, 1_000):
                ids = [f"i{number}" for number in range(start, min(start + 1_000, IMAGES))]
                await upsert(writer, images(ids), vectors(seed + start, len(ids)))
            await upsert(writer, texts([f"t{number}" for number in range(TEXTS)]), vectors(seed + 1, TEXTS))
            await change(writer, seed=seed)

    asyncio.run(write())


async def change(writer: WriterEngine, *, seed: int, ids: Sequence[str] = ("i1", "i2")) -> None:
    """Store two images again and a new one, and delete two and a text."""
    await upsert(writer, images([*ids, f"new{seed}"]), vectors(seed + 50, len(ids) + 1))
    gone = [f"i{5 + seed % 7}", f"i{1_200 + seed % 7}", f"t{seed % 7}"]
    await writer.delete(TENANT, "things", ids=gone, request_id=request_id())


def contents(snapshot: Snapshot) -> dict[str, tuple[bytes, ...]]:
    """Return all live items with vectors and values; no id is there twice."""
    found: dict[str, tuple[bytes, ...]] = {"": (str(snapshot.revision).encode(),)}
    for parts in snapshot.segments.values():
        for part in parts:
            for row in part.live_rows.tolist():
                values = [
                    str(part.segment.value(name, row)).encode() for name in ("attributes", "pair_key", "revision")
                ]
                item_id = part.segment.id_at(row)
                assert item_id not in found
                found[item_id] = (part.segment.vectors[row].tobytes(), *values)
    return found


def answers(snapshot: Snapshot, modality: Modality = Modality.IMAGE) -> list[list[str]]:
    """Return the ten nearest images of each of QUERIES."""
    question = Question(modality=modality, space=SPACE, top_k=10, item_modality=Modality.IMAGE)
    found = rank_snapshot(snapshot, QUERIES, question).neighbors
    return [[neighbor.item.id for neighbor in neighbors] for neighbors in found]


def arranged(snapshot: Snapshot, kind: Kind) -> Snapshot:
    """Return a snapshot whose images are searched by a structure."""
    (part,) = snapshot.segments[Modality.IMAGE]
    structure = build(kind, part.segment.vectors, list_count=16)
    segment = part.segment.arranged_as(Arranged(structure, Effort(probes=16)))
    report = StructureReport(state=StructureState.READY, kind=kind, recall=0.97, rows=part.live_count)
    return replace(
        snapshot,
        segments={**snapshot.segments, Modality.IMAGE: (LiveSegment(segment, part.live, part.dead_count),)},
        structures={Modality.IMAGE: report},
    )


def brute_force(snapshot: Snapshot, rows: dict[str, tuple[bytes, ...]]) -> list[list[str]]:
    """Return what `answers` must be, from `contents` by one product of matrices in float64."""
    ids = [item_id for item_id in rows if item_id.startswith(("i", "new"))]
    items: NDArray[np.float64] = np.stack([np.frombuffer(rows[item_id][0], np.float32) for item_id in ids]).astype(
        float
    )
    assert items.shape[1] == DIMENSION
    scores = snapshot.query_rows(QUERIES, Modality.IMAGE).astype(float) @ items.T
    return [[ids[place] for place in np.argsort(-line)[:10]] for line in scores]
