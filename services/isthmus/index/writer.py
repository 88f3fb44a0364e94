"""The one writer of a store: catalogs, event tables, and the answers to every mutation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from isthmus.core.modality import Modality
from isthmus.index.aligner_files import accept_aligner
from isthmus.index.catalog import Catalog, CatalogEntry, StorePaths
from isthmus.index.config import IndexConfig
from isthmus.index.epoch import WriterEpoch
from isthmus.index.events import Answer, Event, Op, pack_aligner
from isthmus.index.group_commit import CommitThreads, GroupCommitter
from isthmus.index.metrics import forget_collection
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    CollectionSettings,
    NewItem,
    SpacedVectors,
    StoredDigest,
    UpsertResult,
)
from isthmus.index.mutations import Delete, Rollback, SetAligner, prepare_upsert
from isthmus.index.promotion import PromotionTerms, check_promotion
from isthmus.index.state import CollectionState, load_state
from isthmus.index.store import EventTable
from isthmus.index.superseded import SupersededError
from isthmus.index.turn import WriterTurn
from isthmus.index.writer_lock import WriterLock
from isthmus.runtime.base.errors import (
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.limits import DIMENSION_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.names import check_count, check_item_id, check_name, check_request_id, check_space

__all__ = ["WriterEngine"]

log = logging.getLogger("isthmus.index")

_COMMIT_THREADS: Final = 4
_COLLECTIONS_MAX_COUNT: Final = 10_000
_CATALOG_FAN_OUT: Final = 32

T = TypeVar("T")


class WriterEngine:
    """Applies mutations and says at which revision they are durable.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._paths = StorePaths.at(config.store_dir, config.object_store)
        self._durable = config.durability == "power"
        self._lock = WriterLock(config.store_dir) if isinstance(config.store_dir, Path) else None
        self._turn = WriterTurn(self._take, renewable=config.claim == "first_call")
        self._epoch: WriterEpoch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._commit_threads = ThreadPoolExecutor(_COMMIT_THREADS, thread_name_prefix="index-commit")
        self._maintain_threads = ThreadPoolExecutor(1, thread_name_prefix="index-maintain")
        self._threads = CommitThreads(commit=self._commit_threads, maintain=self._maintain_threads)
        self._catalogs: dict[str, Catalog] = {}
        self._doubtful: set[str] = set()
        self._collections: dict[tuple[str, str], GroupCommitter] = {}
        self._catalog_guard = asyncio.Lock()
        self._ready = False

    async def start(self) -> None:
        """Make ready: take the store, or only look at it when the first call is to take it.

        Raises:
            UnavailableError: NOT_READY; another writer holds the store, or has taken it meanwhile.
                BACKEND_UNAVAILABLE; the store cannot be reached.
        """
        if self._lock is not None:
            self._lock.acquire()
        if self._config.claim == "start":
            await self._turn.epoch()
        else:
            try:
                await self.offload(self._paths.tenants)
            except (OSError, ValueError) as error:
                raise _unreachable() from error
            log.info("store found; the first call takes it")
        self._ready = True

    async def probe(self) -> None:
        """Fail when starting again would help: a writer that any call lets take the store is well without it.

        Raises:
            UnavailableError: NOT_READY; it is not open, or another writer has taken the store for good.
        """
        self._check_ready()
        if self._config.claim == "start":
            await self._turn.epoch()

    async def close(self) -> None:
        """Commit what waits, then let go of the store."""
        self._ready = False
        await self._turn.close()
        await self._close_collections()
        self._commit_threads.shutdown()
        self._maintain_threads.shutdown()
        if self._lock is not None:
            self._lock.release()

    async def create_collection(
        self,
        tenant: str,
        name: str,
        *,
        settings: CollectionSettings,
        aligner: AlignerFiles | None,
        request_id: str,
    ) -> CollectionInfo:
        """Create a collection, at revision 1.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS, unless this very request created it.
            InvalidArgumentError: a name, a space or a dimension is wrong, or the artefact is damaged.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        epoch = await self._current_epoch()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        _check_settings(settings)
        space = await self.offload(lambda: accept_aligner(aligner, settings).space) if aligner is not None else ""
        async with self._catalog_guard:
            with _store_errors():
                catalog = await self._catalog(tenant)
            entry = catalog.find_created(name, request_id)
            if entry is not None:
                with _store_errors():
                    await self.offload(epoch.check)
            else:
                _check_collection_count(len(catalog.entries))
                entry = CatalogEntry(name=name, uuid=Catalog.new_uuid(), settings=settings, request_id=request_id)
                first = Event(
                    revision=1,
                    op=Op.SETTINGS,
                    request_id=request_id,
                    space=space,
                    answer=Answer(op=Op.SETTINGS, revision=1).to_json(),
                    payload=b"" if aligner is None else pack_aligner(aligner),
                )
                with self._in_doubt(tenant):
                    await self.offload(lambda: self._create(catalog, tenant, entry, first))
                    await self._open_collection(tenant, entry)
        return (await self._collection(tenant, name)).info()

    async def delete_collection(self, tenant: str, name: str, *, request_id: str) -> None:
        """Delete a collection and everything in it.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND, unless this very request deleted it.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        epoch = await self._current_epoch()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        async with self._catalog_guard:
            with _store_errors():
                catalog = await self._catalog(tenant)
                if catalog.was_deleted_by(name, request_id):
                    await self.offload(epoch.check)
                    return
            entry = catalog.get(name)
            collection = self._collections.pop((tenant, name))
            await collection.close()
            with self._in_doubt(tenant):
                await self.offload(lambda: catalog.remove(entry, request_id))
            await self.offload(lambda: self._remove_files(tenant, entry))
        forget_collection("writer", tenant, name)
        log.info("collection deleted", extra=fields(collection=name))

    async def list_collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """Return a tenant's collections by name."""
        await self._current_epoch()
        found = [collection.info() for (owner, _), collection in self._collections.items() if owner == tenant]
        return tuple(sorted(found, key=lambda info: info.name))

    async def get_collection(self, tenant: str, name: str) -> CollectionInfo:
        """Return one collection.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
        """
        return (await self._collection(tenant, name)).info()

    async def upsert(
        self,
        tenant: str,
        name: str,
        *,
        items: Sequence[NewItem],
        vectors: Mapping[Modality, SpacedVectors],
        request_id: str,
    ) -> UpsertResult:
        """Insert or replace items; they are durable when this returns.

        An item that is wrong is reported and does not harm its neighbours. An item that is stored just so already is
        counted as unchanged; when nothing changes, nothing is written and the revision stays.

        Args:
            tenant: Whose collection it is.
            name: Its name.
            items: At most 1,000.
            vectors: For each modality among the items, their canonical raw embeddings in their order.
            request_id: Names the mutation; the same id again is answered alike and applied once.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: SPACE_MISMATCH.
            InvalidArgumentError: the request as a whole is wrong.
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        check_count(items, field="items", limit=UPSERT_MAX_COUNT)
        settings = collection.state.settings
        mutation, failures = await self.offload(
            lambda: prepare_upsert(items, vectors, settings=settings, request_id=request_id)
        )
        answer = await collection.submit(mutation)
        return UpsertResult(
            revision=answer.revision,
            created_count=answer.created_count,
            updated_count=answer.updated_count,
            unchanged_count=answer.unchanged_count,
            failures=failures,
        )

    async def delete(self, tenant: str, name: str, *, ids: Sequence[str], request_id: str) -> tuple[int, int]:
        """Delete items; they are gone for good when this returns.

        Returns:
            The revision, and how many items were there.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: EMPTY_INPUT, INVALID_ITEM_ID.
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        _check_ids(ids)
        answer = await collection.submit(Delete(request_id, tuple(dict.fromkeys(ids))))
        return answer.revision, answer.deleted_count

    async def set_aligner(
        self, tenant: str, name: str, *, aligner: AlignerFiles, terms: PromotionTerms, request_id: str
    ) -> CollectionInfo:
        """Make an aligner the active one; nothing is encoded again.

        Returns:
            The collection, at the revision from which searchers use the aligner, or a newer one.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: ARTEFACT_DAMAGED.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, UNVERIFIED_ALIGNER, GUARD_BROKEN.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        accepted = await self.offload(lambda: accept_aligner(aligner, collection.state.settings))
        check_promotion(accepted, terms, allowed=collection.state.settings.guard)
        await collection.submit(
            SetAligner(request_id, accepted.space, pack_aligner(aligner), override_reason=terms.override_reason)
        )
        if terms.override_reason:
            log.warning(
                "the guard was overridden", extra=fields(collection=name, aligner=accepted.space, request=request_id)
            )
        return collection.info()

    async def rollback_aligner(self, tenant: str, name: str, *, request_id: str) -> CollectionInfo:
        """Make the aligner before the active one active again, byte for byte; each call goes one further back.

        Returns:
            The collection, at the revision from which searchers use that aligner, or a newer one.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: NO_PREVIOUS_ALIGNER.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        await collection.submit(Rollback(request_id))
        return collection.info()

    async def lookup(
        self, tenant: str, name: str, *, ids: Sequence[str]
    ) -> tuple[int, tuple[StoredDigest | None, ...]]:
        """Say what is stored under ids.

        Returns:
            The revision, and one answer an id, None where nothing is stored.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: EMPTY_INPUT, INVALID_ITEM_ID.
            ResourceExhaustedError: BATCH_TOO_LARGE.
        """
        state = (await self._collection(tenant, name)).state
        _check_ids(ids)
        return state.revision, tuple(state.lookup(item_id) for item_id in ids)

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._commit_threads, work)

    def _check_ready(self) -> None:
        if not self._ready:
            msg = "the writer is not ready"
            raise UnavailableError(msg, reason="NOT_READY", retry_after_s=1.0)

    async def _current_epoch(self) -> WriterEpoch:
        self._check_ready()
        return await self._turn.epoch()

    async def _take(self) -> WriterEpoch:
        """Take the store from any writer before this one, and read what it holds, but no vectors.

        Raises:
            SupersededError: another writer has taken it meanwhile.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be reached.
        """
        started_s = time.monotonic()
        async with self._catalog_guard:
            known = set(self._collections)
            await self._close_collections()
            try:
                self._epoch = await self.offload(
                    lambda: WriterEpoch.take(
                        self._paths, durable=self._durable, keep_versions_s=self._config.keep_versions_s
                    )
                )
                for tenant in await self.offload(self._paths.tenants):
                    await self._catalog(tenant)
            except (OSError, ValueError) as error:
                raise _unreachable() from error
        for tenant, name in known - self._collections.keys():
            forget_collection("writer", tenant, name)
        self._watching = asyncio.create_task(self._watch())
        seconds = round(time.monotonic() - started_s, 3)
        log.info(
            "store opened",
            extra=fields(collections=len(self._collections), epoch=self._epoch.number, seconds=seconds),
        )
        return self._epoch

    async def _close_collections(self) -> None:
        """Forget what an earlier turn has opened, once what waits there is settled."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for collection in self._collections.values():
            await collection.close()
        self._collections.clear()
        self._catalogs.clear()
        self._doubtful.clear()

    async def _collection(self, tenant: str, name: str) -> GroupCommitter:
        epoch = await self._current_epoch()
        collection = self._collections.get((tenant, name))
        if collection is None and tenant in self._doubtful:
            raise _unconfirmed()
        if collection is None:
            with _store_errors():
                await self.offload(epoch.check)  # a later writer may have made it
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return collection

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
            with _store_errors():
                yield
        except SupersededError:
            self._taken().lose()
            raise
        except UnavailableError:
            self._doubtful.add(tenant)
            raise

    def _create(self, catalog: Catalog, tenant: str, entry: CatalogEntry, first: Event) -> None:
        uri, options = self._paths.events(tenant, entry.uuid), self._paths.storage_options
        EventTable.create(uri, first, durable=self._durable, storage_options=options)
        catalog.add(entry)
        catalog.maintain(fan_out=_CATALOG_FAN_OUT, keep_versions_s=self._config.keep_versions_s)

    def _remove_files(self, tenant: str, entry: CatalogEntry) -> None:
        try:
            self._paths.remove(self._paths.events(tenant, entry.uuid))
        except OSError:  # the collection is gone all the same; the next start tries again
            log.exception("cannot remove the files of a deleted collection")

    async def _open_collection(self, tenant: str, entry: CatalogEntry) -> None:
        epoch = self._taken()
        table, state = await self.offload(lambda: self._read_collection(tenant, entry, epoch))
        self._collections[tenant, entry.name] = GroupCommitter(
            tenant=tenant,
            name=entry.name,
            table=table,
            state=state,
            epoch=epoch,
            threads=self._threads,
            config=self._config,
        )

    def _read_collection(
        self, tenant: str, entry: CatalogEntry, epoch: WriterEpoch
    ) -> tuple[EventTable, CollectionState]:
        uri, options = self._paths.events(tenant, entry.uuid), self._paths.storage_options
        table = EventTable.open(uri, durable=self._durable, storage_options=options)
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


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what Lance and Arrow raise when the store does not answer into what a caller may see."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _unconfirmed() from error


def _unconfirmed() -> UnavailableError:
    msg = "the store did not confirm the write; repeat it with the same request_id"
    return UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)


def _unreachable() -> UnavailableError:
    return UnavailableError("the store cannot be reached", reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)


def _check_collection_count(count: int) -> None:
    if count >= _COLLECTIONS_MAX_COUNT:
        msg = f"there are {count} collections; the limit is {_COLLECTIONS_MAX_COUNT}"
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata={"limit": str(_COLLECTIONS_MAX_COUNT)})


def _check_ids(ids: Sequence[str]) -> None:
    check_count(ids, field="ids", limit=UPSERT_MAX_COUNT)
    for item_id in ids:
        check_item_id(item_id)


def _check_settings(settings: CollectionSettings) -> None:
    if not settings.modalities:
        msg = "at least one of image_space and text_space is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "image_space"})
    for modality in Modality:
        space, dimension = settings.space(modality), settings.dimension(modality)
        if space:
            check_space(space, field=f"{modality}_space")
        if not int(bool(space)) <= dimension <= (DIMENSION_MAX_COUNT if space else 0):
            msg = f"{modality}_dimension must be 1 to {DIMENSION_MAX_COUNT} with {modality}_space, and unset without it"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": f"{modality}_dimension"})
    if settings.image_space == settings.text_space and settings.image_dimension != settings.text_dimension:
        msg = "image_dimension and text_dimension must agree when both modalities share a space"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "text_dimension"})
