"""The one writer of a store: catalogs, event tables, and the answers to every mutation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from isthmus.core.modality import Modality
from isthmus.index.aligner_files import accept_aligner
from isthmus.index.catalog import Catalog, CatalogEntry, StorePaths
from isthmus.index.config import IndexConfig
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
from isthmus.index.mutations import Delete, SetAligner, prepare_upsert
from isthmus.index.state import load_state
from isthmus.index.store import EventTable
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
        self._paths = StorePaths(str(config.store_dir.resolve()))
        self._durable = config.durability == "power"
        self._lock = WriterLock(config.store_dir)
        self._commit_threads = ThreadPoolExecutor(_COMMIT_THREADS, thread_name_prefix="index-commit")
        self._maintain_threads = ThreadPoolExecutor(1, thread_name_prefix="index-maintain")
        self._threads = CommitThreads(commit=self._commit_threads, maintain=self._maintain_threads)
        self._catalogs: dict[str, Catalog] = {}
        self._collections: dict[tuple[str, str], GroupCommitter] = {}
        self._catalog_guard = asyncio.Lock()
        self._ready = False

    async def start(self) -> None:
        """Take the store and read what it holds, but no vectors.

        Raises:
            UnavailableError: NOT_READY; another writer holds the store.
        """
        self._lock.acquire()
        started_s = time.monotonic()
        for tenant in await self.offload(self._paths.tenants):
            catalog = await self._catalog(tenant)
            for entry in catalog.entries.values():
                await self._open_collection(tenant, entry)
        self._ready = True
        seconds = round(time.monotonic() - started_s, 3)
        log.info("store opened", extra=fields(collections=len(self._collections), seconds=seconds))

    async def close(self) -> None:
        """Commit what waits, then let go of the store."""
        self._ready = False
        for collection in self._collections.values():
            await collection.close()
        self._commit_threads.shutdown()
        self._maintain_threads.shutdown()
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
        """
        self._check_ready()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        _check_settings(settings)
        space = await self.offload(lambda: accept_aligner(aligner, settings).space) if aligner is not None else ""
        async with self._catalog_guard:
            catalog = await self._catalog(tenant)
            entry = catalog.find_created(name, request_id)
            if entry is None:
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
                await self.offload(lambda: self._create(catalog, tenant, entry, first))
                await self._open_collection(tenant, entry)
        return self._collection(tenant, name).info()

    async def delete_collection(self, tenant: str, name: str, *, request_id: str) -> None:
        """Delete a collection and everything in it.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND, unless this very request deleted it.
        """
        self._check_ready()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        async with self._catalog_guard:
            catalog = await self._catalog(tenant)
            if catalog.was_deleted_by(name, request_id):
                return
            entry = catalog.get(name)
            collection = self._collections.pop((tenant, name))
            await collection.close()
            try:
                await self.offload(lambda: catalog.remove(entry, request_id))
            except Exception:
                await self._open_collection(tenant, entry)
                raise
            await self.offload(lambda: self._paths.remove(self._paths.events(tenant, entry.uuid)))
        forget_collection("writer", tenant, name)
        log.info("collection deleted", extra=fields(collection=name))

    async def list_collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """Return a tenant's collections by name."""
        self._check_ready()
        found = [collection.info() for (owner, _), collection in self._collections.items() if owner == tenant]
        return tuple(sorted(found, key=lambda info: info.name))

    async def get_collection(self, tenant: str, name: str) -> CollectionInfo:
        """Return one collection.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
        """
        return self._collection(tenant, name).info()

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
        collection = self._collection(tenant, name)
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
        collection = self._collection(tenant, name)
        check_request_id(request_id)
        _check_ids(ids)
        answer = await collection.submit(Delete(request_id, tuple(dict.fromkeys(ids))))
        return answer.revision, answer.deleted_count

    async def set_aligner(self, tenant: str, name: str, *, aligner: AlignerFiles, request_id: str) -> CollectionInfo:
        """Make an aligner the active one; nothing is encoded again.

        Returns:
            The collection, at the revision from which searchers use the aligner, or a newer one.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: ARTEFACT_DAMAGED.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = self._collection(tenant, name)
        check_request_id(request_id)
        accepted = await self.offload(lambda: accept_aligner(aligner, collection.state.settings))
        await collection.submit(SetAligner(request_id, accepted.space, pack_aligner(aligner)))
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
        state = self._collection(tenant, name).state
        _check_ids(ids)
        return state.revision, tuple(state.lookup(item_id) for item_id in ids)

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._commit_threads, work)

    def _check_ready(self) -> None:
        if not self._ready:
            msg = "the writer is not ready"
            raise UnavailableError(msg, reason="NOT_READY", retry_after_s=1.0)

    def _collection(self, tenant: str, name: str) -> GroupCommitter:
        self._check_ready()
        collection = self._collections.get((tenant, name))
        if collection is None:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return collection

    async def _catalog(self, tenant: str) -> Catalog:
        catalog = self._catalogs.get(tenant)
        if catalog is None:
            catalog = await self.offload(lambda: Catalog(self._paths, tenant, durable=self._durable))
            self._catalogs[tenant] = catalog
        return catalog

    def _create(self, catalog: Catalog, tenant: str, entry: CatalogEntry, first: Event) -> None:
        try:
            EventTable.create(self._paths.events(tenant, entry.uuid), first, durable=self._durable)
            catalog.add(entry)
        except OSError as error:
            msg = "the store did not confirm the write; repeat it with the same request_id"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error
        catalog.maintain(fan_out=_CATALOG_FAN_OUT, keep_versions_s=self._config.keep_versions_s)

    async def _open_collection(self, tenant: str, entry: CatalogEntry) -> None:
        uri = self._paths.events(tenant, entry.uuid)
        table = await self.offload(lambda: EventTable.open(uri, durable=self._durable))
        count = self._config.request_ids_count
        state = await self.offload(lambda: load_state(table.view(), entry.settings, request_ids_count=count))
        self._collections[tenant, entry.name] = GroupCommitter(
            tenant=tenant, name=entry.name, table=table, state=state, threads=self._threads, config=self._config
        )


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
