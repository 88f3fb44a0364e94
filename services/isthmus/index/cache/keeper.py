"""The cache files of all collections of a searcher, and the one thread that writes them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Final

from isthmus.index.cache.collection import CollectionCache
from isthmus.index.cache.container import TEMPORARY_SUFFIX
from isthmus.index.cache.faiss_bytes import limit_deserialization
from isthmus.index.cache.recall import Recall
from isthmus.index.catalog import CatalogEntry
from isthmus.index.config import IndexConfig
from isthmus.index.follower import Follower
from isthmus.index.metrics import CACHE_BYTES, CACHE_FAILURES
from isthmus.index.modest import be_modest
from isthmus.index.roster import Roster
from isthmus.index.segments import SEGMENT_MAX_ROWS
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.limits import DIMENSION_MAX_COUNT
from isthmus.runtime.base.logging import fields

__all__ = ["Caches"]

log = logging.getLogger("isthmus.index")

_VECTOR_MAX_BYTES: Final = SEGMENT_MAX_ROWS * DIMENSION_MAX_COUNT * 4
"""No part of a structure can be larger."""
_RETRY_MIN_S: Final = 5.0
_RETRY_MAX_S: Final = 600.0


class Caches:
    """Writes the structures of all collections to a folder of this machine, beside all other work.

    A disk that is full, read-only or broken costs the next start some time and nothing else: it is logged and counted.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        limit_deserialization(vector_bytes=_VECTOR_MAX_BYTES)
        self._rest_s = config.cache_rest_s
        self._reserve_bytes = config.disk_reserve_bytes
        self._collections: dict[tuple[str, str], CollectionCache] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="index-cache", initializer=be_modest)
        self._writing: asyncio.Task[None] | None = None
        self._kept: frozenset[tuple[str, str]] | None = None
        self._retry_s = 0.0
        self._wait_s = _RETRY_MIN_S
        self._root = config.cache_dir
        self._shard = config.shard
        self._lock = None if config.cache_dir is None else _lock(config.cache_dir)

    async def close(self) -> None:
        """Let what runs end, and leave the folder to others."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        self._writer.shutdown()
        if self._lock is not None:
            self._lock.close()

    def recall(self, tenant: str, entry: CatalogEntry) -> Recall | None:
        """Return how a collection is read from its files, None where there is no folder."""
        if self._root is None:
            return None
        folder = self._root / tenant / entry.uuid
        cache = CollectionCache(folder, entry.uuid, entry.settings, shard=self._shard, is_owner=self._lock is not None)
        self._collections[tenant, entry.uuid] = cache
        return cache.recall

    async def forget(self, tenant: str, uuid: str) -> bool:
        """Remove the files of a collection, of which items were erased from the store; return whether they are gone.

        What is being written ends first, and what is written later holds nothing that the store has not.
        """
        cache = self._collections.get((tenant, uuid))
        if cache is None:
            return self._root is None
        await asyncio.get_running_loop().run_in_executor(self._writer, cache.forget)
        return self._lock is not None

    def tend(self, roster: Roster) -> None:
        """Write what is due, remove what is gone; cheap and often called."""
        if self._lock is None or time.monotonic() < self._retry_s:
            return
        present = {(follower.tenant, follower.entry.uuid): follower for follower in roster}
        is_idle = self._writing is None or self._writing.done()
        if is_idle and self._kept != present.keys():
            self._kept = frozenset(present)
            self._collections = {key: cache for key, cache in self._collections.items() if key in present}
            self._writing = asyncio.create_task(self._run(partial(self._keep, self._kept, roster.tenants)))
            is_idle = False
        for key, follower in present.items():
            cache = self._collections.get(key)
            if cache is None or not follower.loaded:
                continue
            snapshot = follower.snapshot()
            if cache.is_due(snapshot, rest_s=self._rest_s) and is_idle:
                self._writing = asyncio.create_task(self._run(partial(self._save, cache, follower, snapshot)))
                is_idle = False

    def _save(self, cache: CollectionCache, follower: Follower, snapshot: Snapshot) -> None:
        """Blocks."""
        cache.save(snapshot, follower.fresh_view(), reserve_bytes=self._reserve_bytes)
        CACHE_BYTES.labels(follower.tenant, snapshot.name).set(cache.size_bytes)

    def _keep(self, known: frozenset[tuple[str, str]], tenants: tuple[str, ...]) -> None:
        """Remove the files of collections that their tenants have no more. Blocks."""
        assert self._root is not None
        for tenant in tenants:
            folders = (self._root / tenant).iterdir() if (self._root / tenant).exists() else ()
            for folder in folders:
                if (tenant, folder.name) not in known:
                    shutil.rmtree(folder)

    async def _run(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, work)
        except Exception as error:
            CACHE_FAILURES.labels("write").inc()
            self._retry_s = time.monotonic() + self._wait_s
            log.warning("cannot write cache files", extra=fields(why=str(error), wait_s=self._wait_s), exc_info=True)
            self._wait_s = min(2 * self._wait_s, _RETRY_MAX_S)
        else:
            self._wait_s = _RETRY_MIN_S


def _lock(root: Path) -> IO[str] | None:
    """Hold the folder for this process alone; None where another one holds it, or there can be no folder."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            handle = stack.enter_context((root / "lock").open("w"))
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in root.glob(f"*{TEMPORARY_SUFFIX}"):  # vectors of a process that died
                left.unlink(missing_ok=True)
            stack.pop_all()
            return handle
    except BlockingIOError:
        log.warning("another process writes the cache files; this one only reads them", extra=fields(folder=root))
    except OSError as error:
        CACHE_FAILURES.labels("write").inc()
        log.warning("there can be no cache files", extra=fields(folder=root, why=str(error)))
    return None
