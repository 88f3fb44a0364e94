"""Look at collections in the background, keep what was found, and propose a re-fit where a limit is passed.

Nothing else is done: no aligner is fitted, promoted or rolled back here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.items import LoadedCollection
from isthmus.alignment.metrics import WATCH_FAILURES, WATCH_SECONDS
from isthmus.alignment.ports import FollowedCollection, FollowedCollections
from isthmus.alignment.watching.documents import Documents, open_documents
from isthmus.alignment.watching.looking import collected, looked, proposal_template
from isthmus.alignment.watching.proposals import Proposal, ProposalBook
from isthmus.alignment.watching.state import CollectionWatch, FigureBook
from isthmus.core.watch import find_breaches
from isthmus.runtime.base.errors import IsthmusError, NotFoundError
from isthmus.runtime.base.logging import fields

__all__ = ["Watcher"]

log = logging.getLogger("isthmus.alignment")

T = TypeVar("T")

_ROUND_S: Final = 15.0
"""How often the list of collections is asked for: what notices a promotion, a deletion, many changes."""
_START_S: Final = 30.0
"""The first round comes within so long, so that services that start together do not all look at once."""
_JITTER: Final = 0.1
_REST_MAX_S: Final = 60.0
_MISSED_ROUNDS: Final = 10
"""Rounds that a collection must be missing from before what is kept of it is removed: a searcher may be behind."""
_NICENESS: Final = 10

_Key = tuple[str, str]


class Watcher:
    """Watches all collections of all tenants, one after the other.

    Args:
        config: Intervals, limits, and where documents are kept.
        collections: Lists and reads them.
    """

    def __init__(self, config: AlignmentConfig, collections: FollowedCollections) -> None:
        self._config = config
        self._collections = collections
        # Measuring comes after everything else that this machine has to do, and files are written one at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alignment-watch", initializer=_give_way)
        self._files = ThreadPoolExecutor(1, thread_name_prefix="alignment-watch-files")
        self._documents: Documents | None = None
        self._known: dict[_Key, CollectionWatch] = {}
        self._due_s: dict[_Key, float] = {}
        self._missed: dict[_Key, int] = {}
        self._guards: dict[_Key, asyncio.Lock] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Recall what is kept, and watch unless the interval is 0.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE.
        """
        await self.recall()
        if self._config.watch_interval_s > 0.0:
            self._task = asyncio.create_task(self._run())

    async def recall(self) -> None:
        """Open the documents, and read what is kept of all collections.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE.
        """
        config = self._config
        self._documents = await self._filed(lambda: open_documents(config.aligners_dir, config.object_store))
        self._known = await self._filed(self._kept)

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=False, cancel_futures=True)

    def watches(self) -> list[tuple[str, CollectionWatch]]:
        """Return the latest look at every collection with its tenant, by tenant and name."""
        return [(key[0], self._known[key]) for key in sorted(self._known.keys() - self._missed.keys())]

    def watch(self, tenant: str, collection: str) -> CollectionWatch:
        """Return the latest look at a collection; one without figures when there was none."""
        return self._known.get((tenant, collection)) or CollectionWatch(collection=collection)

    async def proposals(self, tenant: str, collection: str = "") -> list[Proposal]:
        """Return a tenant's proposals, open and closed, newest first.

        Those of one collection are read anew. Those of all are told from memory, which may be a round behind another
        process: `isthmus status` counts them.
        """
        names = [collection] if collection else [name for owner, name in self._known if owner == tenant]
        found: list[Proposal] = []
        for name in names:
            known = self._known.get((tenant, name))
            if known is not None and collection:
                kept = await self._filed(partial(ProposalBook(self._opened()).of, tenant, name))
                found += (one for one in kept if one.uid == known.uid)
            elif known is not None:
                found += known.proposals
        return sorted(found, key=lambda one: (-one.time_micros, one.proposal))

    async def dismiss(self, tenant: str, collection: str, proposal: str, *, reason: str) -> Proposal:
        """Close a proposal on a person's word; one that was dismissed before stays as it is.

        Raises:
            NotFoundError: PROPOSAL_NOT_FOUND; there is none, or a promotion has closed it.
            UnavailableError: BACKEND_UNAVAILABLE.
        """
        key = (tenant, collection)
        async with self._guard(key):
            known = await self.proposals(tenant, collection)
            found = next((one for one in known if one.proposal == proposal and one.state != "superseded"), None)
            if found is None:
                msg = "proposal: the collection has none of this id that could be dismissed"
                raise NotFoundError(msg, reason="PROPOSAL_NOT_FOUND", metadata={"field": "proposal"})
            if not found.is_open:
                return found
            closed = await self._closed(tenant, found, reason=reason)
            self._replace(key, closed)
            return closed

    async def _run(self) -> None:
        await asyncio.sleep(random.uniform(0.0, min(_START_S, self._config.watch_interval_s)))  # noqa: S311 - no secret
        while True:
            try:
                await self.look_round()
            except (IsthmusError, OSError) as error:
                WATCH_FAILURES.inc()
                log.warning("cannot watch", extra=fields(error=type(error).__name__))
            except Exception:
                WATCH_FAILURES.inc()
                log.exception("a round of watching failed; this is a bug")
            await asyncio.sleep(min(_ROUND_S, self._config.watch_interval_s))

    async def look_round(self) -> None:
        """Ask which collections there are, and look at those that are due.

        Raises:
            IsthmusError: The list cannot be had, or a record not be kept.
            OSError: A record cannot be kept.
        """
        found = await self._collections.followed(
            {key: one.revision for key, one in self._known.items() if one.revision}
        )
        await self._forget({(one.tenant, one.name) for one in found})
        for one in found:
            key = (one.tenant, one.name)
            async with self._guard(key):
                known = await self._recalled(one)
                await self._close_superseded(one, known)
            if self._is_due(one, self._known[key]):
                await self._look(one)

    def _is_due(self, found: FollowedCollection, known: CollectionWatch) -> bool:
        if known.revision == 0 or found.aligner != known.aligner:
            return True
        if found.revision == known.revision:
            return False
        key = (found.tenant, found.name)
        many = found.changed_count >= max(1.0, self._config.watch_changed_share * found.item_count)
        return many or time.monotonic() >= self._due_s.setdefault(key, time.monotonic() + self._interval_s())

    async def _look(self, found: FollowedCollection) -> None:
        started_s = time.monotonic()
        key = (found.tenant, found.name)
        try:
            with WATCH_SECONDS.time():
                loaded = await self._read(found)
                watch = await asyncio.get_running_loop().run_in_executor(self._thread, looked, found, loaded)
        except IsthmusError as error:
            WATCH_FAILURES.inc()
            log.warning("cannot look at a collection", extra=fields(collection=found.name, reason=error.reason))
        else:
            async with self._guard(key):
                await self._settle(found, watch, loaded)
        self._due_s[key] = time.monotonic() + self._interval_s()
        busy_s = time.monotonic() - started_s
        await asyncio.sleep(min(_REST_MAX_S, busy_s * (1.0 / self._config.watch_busy_share - 1.0)))

    async def _read(self, found: FollowedCollection) -> LoadedCollection:
        count = self._config.watch_sample_count
        # Another sample of every revision: what one draw misses the next may find.
        stream = self._collections.read_sample(found.tenant, found.name, count=count, seed=found.revision)
        return collected([message async for message in stream], count=count)

    async def _settle(self, found: FollowedCollection, watch: CollectionWatch, loaded: LoadedCollection) -> None:
        """Keep what was found, and what it asks for."""
        key = (found.tenant, found.name)
        book, figures = ProposalBook(self._opened()), FigureBook(self._opened())
        known = await self._filed(lambda: book.of(*key))
        known = [one for one in known if one.uid == found.uid]
        breaches = () if watch.figures is None else find_breaches(watch.figures, self._config.watch_limits)
        method = "" if loaded.head.aligner is None else loaded.head.aligner.manifest.method
        template = proposal_template(watch, method=method)
        for breach in breaches:
            made = await self._filed(partial(book.propose, found.tenant, known, breach, template))
            if made is not None:
                known.append(made)
                log.warning(
                    "a re-fit is proposed",
                    extra=fields(
                        collection=found.name, aligner=watch.aligner, cause=made.cause, proposal=made.proposal
                    ),
                )
        # Proposals first: with the figures kept, nobody looks again until something changes.
        await self._filed(partial(figures.save, found.tenant, watch))
        self._known[key] = replace(watch, proposals=tuple(known))

    async def _recalled(self, found: FollowedCollection) -> CollectionWatch:
        """Return what is known of a collection; of an earlier one of its name, nothing."""
        key = (found.tenant, found.name)
        known = self._known.get(key)
        if known is None or known.uid != found.uid:
            if known is not None:
                await self._filed(partial(self._opened().remove, "/".join(key)))
            known = CollectionWatch(collection=found.name, uid=found.uid)
            self._due_s.pop(key, None)
        elif known.open_proposals:
            # Another process may have closed one.
            kept = await self._filed(partial(ProposalBook(self._opened()).of, *key))
            known = replace(known, proposals=tuple(one for one in kept if one.uid == found.uid))
        self._known[key] = known
        return known

    def _kept(self) -> dict[_Key, CollectionWatch]:
        """Return what is kept of all collections. Blocks."""
        book, figures = ProposalBook(self._opened()), FigureBook(self._opened())
        found: dict[_Key, CollectionWatch] = {}
        for key in figures.kept():
            known, proposals = figures.load(*key), book.of(*key)
            if known is None and proposals:
                # Cut off between the two: the figures are taken anew.
                known = CollectionWatch(collection=key[1], uid=proposals[-1].uid)
            if known is not None:
                found[key] = replace(known, proposals=tuple(one for one in proposals if one.uid == known.uid))
        return found

    async def _close_superseded(self, found: FollowedCollection, known: CollectionWatch) -> None:
        for one in known.open_proposals:
            if one.aligner != found.aligner:
                self._replace((found.tenant, found.name), await self._closed(found.tenant, one, reason=None))

    async def _closed(self, tenant: str, proposal: Proposal, *, reason: str | None) -> Proposal:
        """Close a proposal: on a person's word, or without any because another aligner is active."""
        book = ProposalBook(self._opened())
        now = time.time_ns() // 1000
        state: Final = "superseded" if reason is None else "dismissed"
        closed = await self._filed(
            lambda: book.close(tenant, proposal, state=state, now_micros=now, reason=reason or "")
        )
        log.info(
            "proposal closed", extra=fields(collection=proposal.collection, proposal=proposal.proposal, state=state)
        )
        return closed

    def _replace(self, key: _Key, closed: Proposal) -> None:
        known = self._known.get(key)
        if known is not None:
            proposals = tuple(closed if one.proposal == closed.proposal else one for one in known.proposals)
            self._known[key] = replace(known, proposals=proposals)

    async def _forget(self, there: set[_Key]) -> None:
        """Forget collections that are gone, and in the end what is kept of them."""
        for key in [key for key in self._missed if key in there]:
            del self._missed[key]
        for key in [key for key in self._known if key not in there]:
            self._missed[key] = self._missed.get(key, 0) + 1
            if self._missed[key] >= _MISSED_ROUNDS:
                await self._filed(partial(self._opened().remove, "/".join(key)))
                del self._known[key], self._missed[key]
                self._due_s.pop(key, None)

    def _guard(self, key: _Key) -> asyncio.Lock:
        """Return the lock under which a collection's records are changed."""
        return self._guards.setdefault(key, asyncio.Lock())

    def _interval_s(self) -> float:
        return self._config.watch_interval_s * random.uniform(1.0 - _JITTER, 1.0 + _JITTER)  # noqa: S311 - no secret

    def _opened(self) -> Documents:
        if self._documents is None:
            msg = "the watcher is not started; this is a bug"
            raise RuntimeError(msg)
        return self._documents

    async def _filed(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in the thread for documents."""
        return await asyncio.get_running_loop().run_in_executor(self._files, work)


def _give_way() -> None:
    """Let every other thread of the machine go first: on Linux a thread has a niceness of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)
