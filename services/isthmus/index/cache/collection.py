"""The cache files of one collection: read when it is loaded, written once its segments have stood for a while."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from isthmus.core.aligners import Aligner
from isthmus.core.modality import Modality
from isthmus.index.cache.census import Census
from isthmus.index.cache.recall import Recalled, recalled
from isthmus.index.cache.segment_file import (
    MadeOf,
    SavedSegment,
    made_of,
    read_segment,
    segment_name,
    write_segment,
)
from isthmus.index.metrics import CACHE_FAILURES, CACHE_ROWS
from isthmus.index.model import CollectionSettings
from isthmus.index.segments import LiveSegment, Segment
from isthmus.index.snapshot import Snapshot
from isthmus.index.store import EventHeads, EventView
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.shards import WHOLE, Shard

__all__ = ["CollectionCache"]

log = logging.getLogger("isthmus.index")

_MIN_ROWS: Final = 1_024
"""Of a segment that is worth a file: fewer are read from the store in no time, and change often."""
_READERS: Final = min(4, os.cpu_count() or 1)


class CollectionCache:
    """One collection's files. `recall` and `save` are for one thread at a time each, the rest for the event loop.

    Args:
        folder: Of the files; made when there is something to write.
        uuid: Of the collection.
        settings: Of the collection.
        shard: The part of it that is held.
        is_owner: Whether this process may write and remove them; another one may be doing so.
    """

    def __init__(
        self, folder: Path, uuid: str, settings: CollectionSettings, *, shard: Shard = WHOLE, is_owner: bool
    ) -> None:
        self._folder = folder
        self._uuid = uuid
        self._settings = settings
        self._shard = shard
        self._is_owner = is_owner
        self._names: dict[str, str] = {}
        """Of the file of each segment, by the name that it would be given; empty for one that is not to be written.

        They differ where a file holds less than the segment. Replaced, never changed."""
        self._since_s: dict[str, float] = {}

    @property
    def size_bytes(self) -> int:
        """What the files take."""
        return sum(file.stat().st_size for file in self._files())

    def recall(self, view: EventView, heads: EventHeads, aligner: Aligner | None) -> Recalled | None:
        """Return what the files hold of a collection; a file that is not as it was written is refused and removed.

        Raises:
            DataLossError: STORE_DAMAGED.
            OSError: the store cannot be read.
        """
        files = self._files()
        if not files:
            return None
        of = {modality: self._made_of(aligner, modality) for modality in Modality}
        with ThreadPoolExecutor(min(_READERS, len(files)), thread_name_prefix="index-cache-read") as readers:
            read = zip(files, readers.map(lambda file: self._read(file, of), files), strict=True)
            saved = {self._name(entry.segment, aligner): (file, entry) for file, entry in read if entry is not None}
        names = {name: file.name for name, (file, _) in saved.items()}

        def renew(segment: Segment) -> None:
            del names[self._name(segment, aligner)]

        def refuse(segment: Segment) -> None:
            self._remove([saved[self._name(segment, aligner)][0]])
            renew(segment)

        if not saved:
            return None
        found = recalled(view, heads, (entry for _, entry in saved.values()), refuse=refuse, renew=renew)
        self._names = names
        if found is not None:
            rows = sum(part.live_count for parts in found.segments.values() for part in parts)
            CACHE_ROWS.inc(rows)
            log.info("structures read from files", extra=fields(collection=self._uuid, files=len(names), rows=rows))
        return found

    def is_due(self, snapshot: Snapshot, *, rest_s: float) -> bool:
        """Return True when `save` would write something. Cheap, and to be called often: it looks how segments age."""
        now_s = time.monotonic()
        names = [self._name(part.segment, snapshot.aligner) for part in self._worthy(snapshot)]
        self._since_s = {name: self._since_s.get(name, now_s) for name in names}
        return self._is_owner and any(
            name not in self._names and now_s - since_s >= rest_s for name, since_s in self._since_s.items()
        )

    def save(self, snapshot: Snapshot, view: EventView, *, reserve_bytes: int) -> None:
        """Write the segments that have no file yet; when all have one, remove the files of others. Blocks.

        Args:
            snapshot: Whose segments they are.
            view: The store, at that snapshot's version or a later one.
            reserve_bytes: What is left free on the disk.

        Raises:
            OSError: the disk is full, may not be written, or failed; or the store cannot be read.
            DataLossError: STORE_DAMAGED.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = {self._name(part.segment, snapshot.aligner): part for part in self._worthy(snapshot)}
        names = {name: file for name, file in self._names.items() if name in parts}
        census = Census.of(view)
        for name, part in parts.items():
            if name not in names:
                names[name] = self._write(name, part, snapshot, census, reserve_bytes)
                self._names = dict(names)
        self._names = names
        self._remove(file for file in self._folder.iterdir() if file.name not in names.values())

    def forget(self) -> None:
        """Remove all files; what is in memory is written anew when it is due."""
        if self._is_owner:
            self._names = {}
            shutil.rmtree(self._folder, ignore_errors=True)

    def _made_of(self, aligner: Aligner | None, modality: Modality) -> MadeOf:
        return made_of(self._uuid, self._settings, aligner, modality, self._shard)

    def _name(self, segment: Segment, aligner: Aligner | None) -> str:
        return segment_name(segment, self._made_of(aligner, segment.modality))

    def _write(self, name: str, part: LiveSegment, snapshot: Snapshot, census: Census, reserve_bytes: int) -> str:
        """Write a segment; of one that has rows which the store has no more, what is live, and no structure."""
        segment = part.segment
        rows = None
        if (census.find(segment.row_ids) < 0).any():
            live = part.live_rows
            rows = live[census.find(segment.row_ids[live]) >= 0]
            if not len(rows):
                return ""
        needed_bytes = segment.vectors.nbytes * (2 if segment.arranged is not None else 1)
        if shutil.disk_usage(self._folder).free < needed_bytes + reserve_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        of = self._made_of(snapshot.aligner, segment.modality)
        started_s = time.monotonic()
        size = write_segment(
            self._folder / name,
            segment,
            of=of,
            digests=census.digests(segment.row_ids if rows is None else segment.row_ids[rows]),
            rows=rows,
            report=snapshot.structures.get(segment.modality),
        )
        seconds = round(time.monotonic() - started_s, 3)
        log.info("structure written", extra=fields(collection=self._uuid, rows=segment.rows, bytes=size, s=seconds))
        return name

    def _read(self, file: Path, of: dict[Modality, MadeOf]) -> SavedSegment | None:
        try:
            saved = read_segment(file, of=of)
        except Exception as error:  # whatever is wrong with it, the store has everything
            CACHE_FAILURES.labels("damaged").inc()
            log.warning(
                "cache file refused", extra=fields(collection=self._uuid, file=file.name, why=str(error)), exc_info=True
            )
            saved = None
        if saved is None:
            self._remove([file])
        return saved

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self._folder.iterdir() if file.suffix == ".cache")
        except OSError:
            return []

    def _remove(self, files: Iterable[Path]) -> None:
        if self._is_owner:
            for file in files:
                file.unlink(missing_ok=True)

    @staticmethod
    def _worthy(snapshot: Snapshot) -> list[LiveSegment]:
        every = (part for parts in snapshot.segments.values() for part in parts)
        return [part for part in every if part.segment.rows >= _MIN_ROWS]
