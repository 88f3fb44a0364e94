"""Follow every collection of a store: look for news unasked, and at once when a read asks for a newer revision."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from isthmus.index.cache.recall import Recall
from isthmus.index.catalog import CatalogEntry, StorePaths
from isthmus.index.config import IndexConfig
from isthmus.index.follower import Follower
from isthmus.index.heeding import Heeder
from isthmus.index.news import NewsSource
from isthmus.index.roster import Roster
from isthmus.index.snapshot import Snapshot
from isthmus.runtime.base.errors import NotFoundError, UnavailableError
from isthmus.runtime.base.logging import fields

__all__ = ["Following"]

log = logging.getLogger("isthmus.index")

_BUILD_THREADS: Final = 2
_RETRY_S: Final = 0.01
_TEND_S: Final = 1.0
"""How often what is loaded is tended, however seldom the store is looked at."""
_HEARD_LOOK_S: Final = 30.0
"""How often an object store is looked at while the writer is heard: each look costs requests."""
_ROSTER_RETRY_S: Final = 1.0

T = TypeVar("T")


class Following:
    """Keeps the snapshots of all collections up to date. On the event loop.

    Attributes:
        roster: Of the collections that are there.

    Args:
        config: Of the process.
        tend: Called with the roster whenever it was looked through.
        news: Where the writer is heard; None where it is not.
        recall: Of the roster.
    """

    def __init__(
        self,
        config: IndexConfig,
        *,
        tend: Callable[[Roster], None],
        news: NewsSource | None = None,
        recall: Callable[[str, CatalogEntry], Recall | None] = lambda _tenant, _entry: None,
    ) -> None:
        self._config = config
        self._tend = tend
        self._paths = StorePaths.at(config.store_dir, config.object_store)
        self.roster = Roster(self._paths, shard=config.shard, recall=recall)
        self._builders = ThreadPoolExecutor(_BUILD_THREADS, thread_name_prefix="index-build")
        self._roster_thread = ThreadPoolExecutor(1, thread_name_prefix="index-roster")
        self._settlers = ThreadPoolExecutor(1, thread_name_prefix="index-settle")
        self._following: dict[Follower, asyncio.Task[None]] = {}
        self._settling: dict[Follower, asyncio.Task[None]] = {}
        self._updating: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heeder: Heeder | None = None
        if news is not None:
            self._heeder = Heeder(
                news,
                roster=self.roster,
                follow=self._follow,
                settle=self._settle,
                update_roster=self._update_roster,
            )

    async def start(self) -> None:
        """Load every collection, then keep following them."""
        started_s = time.monotonic()
        if self._heeder is not None:
            self._listening = asyncio.create_task(self._heeder.run())
        await self._update_roster()
        if self._following:
            await asyncio.wait(self._following.values())
        self._polling = asyncio.create_task(self._poll())
        loaded = sum(follower.failure is None for follower in self.roster)
        seconds = round(time.monotonic() - started_s, 3)
        log.info("collections loaded", extra=fields(collections=loaded, seconds=seconds))

    async def close(self) -> None:
        """Stop following; let what runs end."""
        looking = [task for task in (self._polling, self._listening) if task is not None]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        running = [self._updating, *self._following.values(), *self._settling.values()]
        await asyncio.gather(*(task for task in running if task is not None), return_exceptions=True)
        self._builders.shutdown()
        self._settlers.shutdown()
        self._roster_thread.shutdown()

    async def follower(self, tenant: str, name: str) -> Follower:
        """Return a collection's follower; a collection deleted or made a moment ago is noticed.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: BACKEND_UNAVAILABLE; the catalogs cannot be read.
        """
        if self.roster.get(tenant, name) is None or not self.roster.is_current(tenant):
            await self._update_roster()
        follower = self.roster.get(tenant, name)
        if follower is None:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return follower

    async def resolve(self, tenant: str, name: str, *, min_revision: int, deadline_s: float | None) -> tuple[str, int]:
        """Return the collection that a name stands for, and the least revision of that collection that a read asks for.

        A revision that was acknowledged under an alias may be a number of the collection that it pointed at before.
        What was acknowledged is committed: one look at the store finds it, and waiting for more would be in vain.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND; only of a collection that an alias points at.
            UnavailableError: as `follower` and `at_least`.
        """
        if self.roster.get(tenant, name) is not None and self.roster.is_current(tenant):
            return name, min_revision
        alias = self.roster.alias(tenant, name)
        if alias is None or not self.roster.is_current(tenant):
            await self._update_roster()
            alias = self.roster.alias(tenant, name)
        if alias is None:
            return name, min_revision
        if not alias.previous or not min_revision:
            return alias.collection, min_revision
        follower = await self.follower(tenant, alias.collection)
        snapshot = await self.at_least(follower, 0, deadline_s)
        if snapshot.revision < min_revision:
            # The look that runs may have begun before the commit that is asked for; the next one has not.
            for _ in range(2):
                await asyncio.wait({self._follow(follower)})
            snapshot = follower.snapshot()
        return alias.collection, min(min_revision, snapshot.revision)

    async def at_least(self, follower: Follower, min_revision: int, deadline_s: float | None) -> Snapshot:
        """Return a collection's snapshot once it is at a revision.

        Args:
            follower: Of the collection.
            min_revision: The least revision.
            deadline_s: Of the caller, on the clock of `time.monotonic`; None for none.

        Raises:
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        give_up_s = time.monotonic() + self._config.revision_wait_s
        if deadline_s is not None:
            give_up_s = min(give_up_s, deadline_s)
        loading = self._following.get(follower)
        if not follower.loaded and loading is not None:
            await asyncio.wait({loading}, timeout=max(0.0, give_up_s - time.monotonic()))
        while True:
            snapshot = follower.snapshot()
            if snapshot.revision >= min_revision:
                return snapshot
            remaining_s = give_up_s - time.monotonic()
            if remaining_s <= 0.0:
                msg = f"the collection is at revision {snapshot.revision}, not yet at {min_revision}"
                metadata = {"revision": str(snapshot.revision), "min_revision": str(min_revision)}
                raise UnavailableError(msg, reason="REVISION_NOT_REACHED", metadata=metadata)
            await asyncio.wait({self._follow(follower)}, timeout=remaining_s)
            if follower.failure is not None:
                raise follower.failure
            if follower.snapshot() is not snapshot:
                continue
            if self._heeder is None:
                await asyncio.sleep(min(_RETRY_S, remaining_s))
            else:
                await self._heeder.until_told(follower, min_revision, at_most_s=remaining_s)

    def _follow(self, follower: Follower) -> asyncio.Task[None]:
        """Return the task that brings a follower up to date, the running one if there is one."""
        task = self._following.get(follower)
        if task is None or task.done():
            task = asyncio.create_task(self._run(self._builders, follower.follow))
            self._following[follower] = task
        return task

    def _settle(self, follower: Follower) -> None:
        task = self._settling.get(follower)
        if task is None or task.done():
            self._settling[follower] = asyncio.create_task(self._run(self._settlers, follower.settle))

    async def _update_roster(self) -> None:
        """Read the catalogs, and load what is new in them."""
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(self._read_roster())
        else:
            # The one that runs may have looked before the change that this caller knows of.
            await asyncio.wait({self._updating})
            if self._updating.done():
                self._updating = asyncio.create_task(self._read_roster())
        await asyncio.shield(self._updating)

    async def _read_roster(self) -> None:
        try:
            fresh = await self._run(self._roster_thread, self.roster.update)
        except (OSError, ValueError) as error:
            msg = "the store cannot be read"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error
        for follower in fresh:
            self._follow(follower)
        known = set(self.roster)
        for tasks in (self._following, self._settling):
            for follower in [gone for gone, task in tasks.items() if gone not in known and task.done()]:
                del tasks[follower]

    async def _poll(self) -> None:
        looked_s = time.monotonic()
        while True:
            rest_s = min(self._config.poll_every_s, _TEND_S)
            await asyncio.sleep(rest_s)
            look = looked_s + self._look_every_s() - time.monotonic() < rest_s / 2
            if look:
                looked_s = time.monotonic()
                try:
                    if not self.roster.are_current():
                        await self._update_roster()
                except Exception:
                    # What is loaded is served on; the catalogs are looked at again after a while.
                    log.exception("cannot read the catalogs")
                    await asyncio.sleep(_ROSTER_RETRY_S)
            for follower in self.roster:
                if (look or follower.failure is not None) and follower.is_due():
                    self._follow(follower)
                if follower.loaded and not follower.is_settled:
                    self._settle(follower)
            self._tend(self.roster)

    def _look_every_s(self) -> float:
        """Return how often the store is looked at now; a look at a folder costs next to nothing."""
        heard = self._heeder is not None and self._heeder.is_live and self._paths.is_remote
        return max(self._config.poll_every_s, _HEARD_LOOK_S) if heard else self._config.poll_every_s

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
