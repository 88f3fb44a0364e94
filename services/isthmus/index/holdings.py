"""What a writer holds while it is its turn at the store: the epoch, the catalogs, a queue for each collection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa

from isthmus.index.aliases import Alias, SwitchTerms, check_alias_count, check_switch
from isthmus.index.announcer import Announcer
from isthmus.index.catalog import Catalog, CatalogEntry, StorePaths
from isthmus.index.checks import check_collection_count
from isthmus.index.config import IndexConfig
from isthmus.index.damage import as_store_error, check_nothing_lost, newest_commit
from isthmus.index.disk_space import DiskSpace
from isthmus.index.epoch import WriterEpoch
from isthmus.index.group_commit import CommitThreads, GroupCommitter
from isthmus.index.metrics import forget_collection
from isthmus.index.model import CollectionSettings
from isthmus.index.news import CollectionNews
from isthmus.index.state import CollectionState, load_state
from isthmus.index.store import EventTable
from isthmus.index.store_errors import store_errors, unconfirmed, unreachable
from isthmus.index.superseded import SupersededError
from isthmus.index.turn import WriterTurn
from isthmus.runtime.base.errors import DataLossError, NotFoundError, ResourceExhaustedError, UnavailableError
from isthmus.runtime.base.logging import fields

__all__ = ["Holdings"]

log = logging.getLogger("isthmus.index")

_COMMIT_THREADS: Final = 4
_CATALOG_FAN_OUT: Final = 32

T = TypeVar("T")


class Holdings:
    """Takes the store, opens what it holds, and keeps it open until another writer takes it. On the event loop.

    Attributes:
        announcer: Tells searchers what is committed.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._paths = StorePaths.at(config.store_dir, config.object_store)
        folder = config.store_dir if isinstance(config.store_dir, Path) else None
        self._space = DiskSpace(folder, reserve_bytes=config.disk_reserve_bytes)
        self._durable = config.durability == "power"
        self._turn = WriterTurn(self._take, renewable=config.claim == "first_call")
        self._epoch: WriterEpoch | None = None
        self.announcer = Announcer(
            holds_store=lambda: self._epoch is not None and not self._epoch.superseded,
            stream_max_s=config.announce_max_s,
        )
        self._watching: asyncio.Task[None] | None = None
        self._commit_threads = ThreadPoolExecutor(_COMMIT_THREADS, thread_name_prefix="index-commit")
        self._maintain_threads = ThreadPoolExecutor(1, thread_name_prefix="index-maintain")
        self._threads = CommitThreads(commit=self._commit_threads, maintain=self._maintain_threads)
        self._catalogs: dict[str, Catalog] = {}
        self._doubtful: set[str] = set()
        self._collections: dict[tuple[str, str], GroupCommitter] = {}
        self._damaged: dict[tuple[str, str], DataLossError] = {}
        self._catalog_guard = asyncio.Lock()

    async def epoch(self) -> WriterEpoch:
        """Return the epoch of this turn; without one the store is taken.

        Raises:
            SupersededError: another writer has taken the store, just now or for good.
            DeadlineExceededError: the caller's deadline passed first.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be reached.
        """
        return await self._turn.epoch()

    async def look(self) -> None:
        """Look at the store without taking it.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE; it cannot be reached.
        """
        try:
            await self.offload(self._paths.tenants)
        except (OSError, ValueError) as error:
            raise unreachable() from error

    async def close(self) -> None:
        """Commit what waits, then let go of the store."""
        await self._turn.close()
        await self._let_go()
        self._commit_threads.shutdown()
        self._maintain_threads.shutdown()

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._commit_threads, work)

    async def create(
        self, tenant: str, name: str, *, settings: CollectionSettings, first: pa.Table, request_id: str
    ) -> GroupCommitter:
        """Create a collection that holds its first events; created by this very request before, return it.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS.
            ResourceExhaustedError: LIMIT_EXCEEDED, DISK_FULL.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        epoch = await self.epoch()
        async with self._catalog_guard:
            with store_errors():
                catalog = await self._catalog(tenant)
            entry = catalog.find_created(name, request_id)
            if entry is not None:
                with store_errors():
                    await self.offload(epoch.check)
            else:
                check_collection_count(len(catalog.entries))
                self._space.check()
                entry = CatalogEntry(name=name, uuid=Catalog.new_uuid(), settings=settings, request_id=request_id)
                with self._in_doubt(tenant):
                    await self.offload(lambda: self._create(catalog, tenant, entry, first))
                    await self._open_collection(tenant, entry)
        return await self.collection(tenant, name)

    async def remove(self, tenant: str, name: str, *, request_id: str) -> bool:
        """Delete a collection; return False when this very request deleted it before.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        epoch = await self.epoch()
        async with self._catalog_guard:
            with store_errors():
                catalog = await self._catalog(tenant)
                if catalog.was_deleted_by(name, request_id):
                    await self.offload(epoch.check)
                    return False
            entry = catalog.get(name)
            catalog.check_unaliased(name)
            collection = self._collections.pop((tenant, name), None)
            if collection is not None:  # a damaged one was never opened
                await collection.close()
            with self._in_doubt(tenant):
                await self.offload(lambda: catalog.remove(entry, request_id))
            self._damaged.pop((tenant, name), None)
            await self.offload(lambda: self._remove_files(tenant, entry))
        forget_collection("writer", tenant, name)
        self.announcer.forget(tenant, name)
        return True

    async def set_alias(self, tenant: str, name: str, collection: str, *, terms: SwitchTerms, request_id: str) -> Alias:
        """Point an alias at a collection; done by this very request before, return what it did.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS; a collection has the alias' name.
            FailedPreconditionError: ALIAS_REFUSED, with the figures. NAME_IS_ALIAS; the target is one.
            IsthmusError: as `create` and `collection`.
        """
        epoch = await self.epoch()
        async with self._catalog_guard:
            with store_errors():
                catalog = await self._catalog(tenant)
                await self.offload(epoch.check)
            done = catalog.alias_set_by(name, request_id)
            if done is not None:
                return done
            before = catalog.aliases.get(name)
            if before is None:
                catalog.find_created(name, "")
                check_alias_count(len(catalog.aliases))
            catalog.get(collection)
            if before is not None and before.collection != collection:
                old, new = [self._collections.get((tenant, one)) for one in (before.collection, collection)]
                if not terms.override_reason:
                    if old is None or new is None:
                        raise unconfirmed()
                    terms.check_compared(before.collection, collection)
                    await self.offload(lambda: check_switch(name, old.state, new.state, terms))
            self._space.check()
            alias = Alias(
                name=name,
                collection=collection,
                request_id=request_id,
                previous="" if before is None else before.collection,
                override_reason=terms.override_reason,
                comparison=terms.comparison,
            )
            with self._in_doubt(tenant):
                alias = await self.offload(lambda: catalog.set_alias(alias))
        self.announcer.touch()
        return alias

    async def remove_alias(self, tenant: str, name: str, *, request_id: str) -> None:
        """Delete an alias; done by this very request before, do nothing.

        Raises:
            NotFoundError: ALIAS_NOT_FOUND.
            IsthmusError: as `remove`.
        """
        epoch = await self.epoch()
        async with self._catalog_guard:
            with store_errors():
                catalog = await self._catalog(tenant)
                await self.offload(epoch.check)
            if not catalog.was_deleted_by(name, request_id):
                with self._in_doubt(tenant):
                    await self.offload(lambda: catalog.remove_alias(name, request_id))
        self.announcer.touch()

    async def aliases(self, tenant: str) -> tuple[Alias, ...]:
        """Return a tenant's aliases by name."""
        await self.epoch()
        catalog = self._catalogs.get(tenant)
        return () if catalog is None else tuple(sorted(catalog.aliases.values(), key=lambda alias: alias.name))

    async def of_tenant(self, tenant: str) -> tuple[GroupCommitter, ...]:
        """Return the queues of a tenant's collections, in no particular order."""
        await self.epoch()
        return tuple(collection for (owner, _), collection in self._collections.items() if owner == tenant)

    async def collection(self, tenant: str, name: str) -> GroupCommitter:
        """Return the queue of one collection, by its name or by an alias.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            DataLossError: STORE_DAMAGED; its files could not be read when the store was taken.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        epoch = await self.epoch()
        catalog = self._catalogs.get(tenant)
        name = name if catalog is None else catalog.resolved(name)
        damage = self._damaged.get((tenant, name))
        if damage is not None:
            raise DataLossError(str(damage), reason=damage.reason, metadata=damage.metadata)
        collection = self._collections.get((tenant, name))
        if collection is None and tenant in self._doubtful:
            raise unconfirmed()
        if collection is None:
            with store_errors():
                await self.offload(epoch.check)  # a later writer may have made it
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return collection

    async def _take(self) -> WriterEpoch:
        """Take the store from any writer before this one, and read what it holds, but no vectors.

        Raises:
            SupersededError: another writer has taken it meanwhile.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be reached.
        """
        started_s = time.monotonic()
        async with self._catalog_guard:
            known = set(self._collections)
            await self._let_go()
            try:
                self._epoch = await self.offload(
                    lambda: WriterEpoch.take(
                        self._paths, durable=self._durable, keep_versions_s=self._config.keep_versions_s
                    )
                )
                for tenant in await self.offload(self._paths.tenants):
                    await self._catalog(tenant)
            except (OSError, ValueError) as error:
                raise unreachable() from error
        for tenant, name in known - self._collections.keys():
            forget_collection("writer", tenant, name)
        self._watching = asyncio.create_task(self._watch())
        seconds = round(time.monotonic() - started_s, 3)
        log.info(
            "store opened",
            extra=fields(collections=len(self._collections), epoch=self._epoch.number, seconds=seconds),
        )
        return self._epoch

    async def _let_go(self) -> None:
        """Forget what an earlier turn has opened, once what waits there is settled."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for collection in self._collections.values():
            await collection.close()
        self._collections.clear()
        self.announcer.forget_all()
        self._damaged.clear()
        self._catalogs.clear()
        self._doubtful.clear()

    async def _catalog(self, tenant: str) -> Catalog:
        """Return a tenant's catalog; one that is unknown or in doubt is read, and its collections opened."""
        catalog = self._catalogs.get(tenant)
        if catalog is None or tenant in self._doubtful:
            epoch = self._taken()
            catalog = await self.offload(
                lambda: Catalog(self._paths, tenant, durable=self._durable, check=epoch.check, pin=epoch.pin)
            )
            fresh = [entry for entry in catalog.entries.values() if (tenant, entry.name) not in self._collections]
            await asyncio.gather(*(self._open_collection(tenant, entry) for entry in fresh))
            self._catalogs[tenant] = catalog
            self._doubtful.discard(tenant)
        return catalog

    @contextlib.contextmanager
    def _in_doubt(self, tenant: str) -> Iterator[None]:
        """Write to a catalog: after a failure nobody knows what it holds, and it is read again before its next use."""
        try:
            with store_errors():
                yield
        except SupersededError:
            self._taken().lose()
            raise
        except (UnavailableError, ResourceExhaustedError):
            self._doubtful.add(tenant)
            raise

    def _create(self, catalog: Catalog, tenant: str, entry: CatalogEntry, first: pa.Table) -> None:
        uri, options = self._paths.events(tenant, entry.uuid), self._paths.storage_options
        EventTable.create_of(uri, first, durable=self._durable, storage_options=options)
        catalog.add(entry)
        catalog.maintain(fan_out=_CATALOG_FAN_OUT, keep_versions_s=self._config.keep_versions_s)

    def _remove_files(self, tenant: str, entry: CatalogEntry) -> None:
        try:
            self._paths.remove(self._paths.events(tenant, entry.uuid))
        except OSError:  # the collection is gone all the same; the next start tries again
            log.exception("cannot remove the files of a deleted collection")

    async def _open_collection(self, tenant: str, entry: CatalogEntry) -> None:
        """Open a collection; one that is damaged is remembered as such and harms no other."""
        epoch = self._taken()
        try:
            table, state = await self.offload(lambda: self._read_collection(tenant, entry, epoch))
        except Exception as error:
            meaning = await self.offload(
                functools.partial(as_store_error, error, self._paths, self._paths.events(tenant, entry.uuid))
            )
            if not isinstance(meaning, DataLossError):
                raise
            self._damaged[tenant, entry.name] = meaning
            log.exception("a collection is damaged and takes no writes", extra=fields(collection=entry.name))
            return
        self._collections[tenant, entry.name] = GroupCommitter(
            tenant=tenant,
            name=entry.name,
            table=table,
            state=state,
            epoch=epoch,
            threads=self._threads,
            config=self._config,
            space=self._space,
            announce=lambda revision: self.announcer.tell(CollectionNews(tenant, entry.name, entry.uuid, revision)),
        )

    def _read_collection(
        self, tenant: str, entry: CatalogEntry, epoch: WriterEpoch
    ) -> tuple[EventTable, CollectionState]:
        uri, options = self._paths.events(tenant, entry.uuid), self._paths.storage_options
        committed = newest_commit(self._paths, uri)
        table = EventTable.open(uri, durable=self._durable, storage_options=options)
        check_nothing_lost(table.version, committed=committed)
        table.claim(check=epoch.check, pin=epoch.pin)
        return table, load_state(table.view(), entry.settings, request_ids_count=self._config.request_ids_count)

    def _taken(self) -> WriterEpoch:
        if self._epoch is None:
            msg = "the writer has no epoch; this is a bug"
            raise RuntimeError(msg)
        return self._epoch

    async def _watch(self) -> None:
        """Notice another writer without anything to commit, and read again the catalogs that are in doubt."""
        while True:
            await asyncio.sleep(self._config.epoch_interval_s)
            try:
                await self.offload(self._taken().check)
                async with self._catalog_guard:
                    for tenant in tuple(self._doubtful):
                        await self._catalog(tenant)
            except SupersededError:
                if self._config.claim == "start":
                    log.error("another writer has taken over this store; nothing is acknowledged any more")  # noqa: TRY400
                else:
                    log.warning("another writer has taken over this store; the next call takes it back")
                return
            except (OSError, ValueError):
                log.exception("the store cannot be read")
