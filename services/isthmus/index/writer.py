"""The one writer of a store: the answers to every mutation."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from isthmus.core.modality import Modality
from isthmus.index.aliases import Alias, SwitchTerms
from isthmus.index.aligner_files import accept_aligner
from isthmus.index.checks import check_ids, check_settings
from isthmus.index.config import IndexConfig
from isthmus.index.eraser import Eraser
from isthmus.index.events import Answer, Event, Op, events_to_table, pack_aligner
from isthmus.index.group_commit import GroupCommitter
from isthmus.index.history import PromotionHistory
from isthmus.index.holdings import Holdings
from isthmus.index.importing import ImportFile, ImportFolder, ImportOutcome, check_import, prepare_import
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    CollectionSettings,
    ItemFailure,
    NewItem,
    SpacedVectors,
    StoredDigest,
    UpsertResult,
)
from isthmus.index.mutations import Delete, Rollback, SetAligner, SetShadow, prepare_upsert
from isthmus.index.news import News
from isthmus.index.promotion import PromotionTerms, check_promotion
from isthmus.index.restore import RestoreResult, restore_collection
from isthmus.index.spool import Spool
from isthmus.index.store_errors import store_errors
from isthmus.index.writer_lock import WriterLock
from isthmus.runtime.base.errors import IsthmusError, UnavailableError
from isthmus.runtime.base.limits import UPSERT_MAX_COUNT
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.names import check_count, check_name, check_request_id

__all__ = ["WriterEngine"]

log = logging.getLogger("isthmus.index")

T = TypeVar("T")


class WriterEngine:
    """Applies mutations and says at which revision they are durable.

    Args:
        config: Of the process.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._lock = WriterLock(config.store_dir) if isinstance(config.store_dir, Path) else None
        self._holdings = Holdings(config)
        self._imports = ImportFolder(config.import_dir, config.object_store)
        self.eraser = Eraser(self._collection, imports=self._imports, is_local=isinstance(config.store_dir, Path))
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
            await self._holdings.epoch()
        else:
            await self._holdings.look()
            log.info("store found; the first call takes it")
        self._ready = True

    async def probe(self) -> None:
        """Fail when starting again would help: a writer that any call lets take the store is well without it.

        Raises:
            UnavailableError: NOT_READY; it is not open, or another writer has taken the store for good.
        """
        self._check_ready()
        if self._config.claim == "start":
            await self._holdings.epoch()

    async def close(self) -> None:
        """Commit what waits, then let go of the store."""
        self._ready = False
        await self._holdings.close()
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
        await self._take_turn()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        check_settings(settings)
        space = await self.offload(lambda: accept_aligner(aligner, settings).space) if aligner is not None else ""
        first = Event(
            revision=1,
            op=Op.SETTINGS,
            request_id=request_id,
            space=space,
            answer=Answer(op=Op.SETTINGS, revision=1).to_json(),
            payload=b"" if aligner is None else pack_aligner(aligner),
        )
        made = await self._holdings.create(
            tenant, name, settings=settings, first=events_to_table([first]), request_id=request_id
        )
        return made.info()

    async def delete_collection(self, tenant: str, name: str, *, request_id: str) -> None:
        """Delete a collection and everything in it.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND, unless this very request deleted it.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
        """
        await self._take_turn()
        check_name(tenant, field="tenant")
        check_name(name, field="name")
        check_request_id(request_id)
        if await self._holdings.remove(tenant, name, request_id=request_id):
            log.info("collection deleted", extra=fields(collection=name))

    async def list_collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        """Return a tenant's collections by name."""
        self._check_ready()
        found = [collection.info() for collection in await self._holdings.of_tenant(tenant)]
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
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL, DISK_FULL.
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
        return _upsert_result(answer, failures)

    async def import_files(
        self, tenant: str, name: str, *, folder: str, files: Sequence[ImportFile], request_id: str
    ) -> ImportOutcome:
        """Store files of rows from the import folder, in order, each as one mutation; they are durable on return.

        A file that is refused as a whole does not harm its neighbours.

        Args:
            tenant: Whose collection it is, and whose part of the import folder is read.
            name: Its name.
            folder: In that part.
            files: At most 16.
            request_id: Names the mutation; the same file under the same id again is answered alike and applied once.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: the request as a whole is wrong.
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL, DISK_FULL.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused, or the import folder cannot be read.
        """
        collection = await self._collection(tenant, name)
        check_import(folder, files, request_id)
        outcome = ImportOutcome({}, {})
        for index, file in enumerate(files):
            try:
                mutation, failures = await self.offload(
                    lambda file=file: prepare_import(  # type: ignore[misc]
                        self._imports.read(tenant, folder, file.name),
                        file,
                        settings=collection.state.settings,
                        request_id=request_id,
                    )
                )
            except UnavailableError:
                raise
            except IsthmusError as error:
                outcome.refused[index] = error
                continue
            outcome.stored[index] = _upsert_result(await collection.submit(mutation), failures)
        return outcome

    async def delete(self, tenant: str, name: str, *, ids: Sequence[str], request_id: str) -> tuple[int, int]:
        """Delete items; they are gone for good when this returns.

        Returns:
            The revision, and how many items were there.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: EMPTY_INPUT, INVALID_ITEM_ID.
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL, DISK_FULL.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        check_ids(ids)
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
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH, UNVERIFIED_ALIGNER, GUARD_BROKEN, VERDICT_OUTDATED.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        accepted = await self.offload(lambda: accept_aligner(aligner, collection.state.settings))
        admission = check_promotion(accepted, terms, allowed=collection.state.settings.guard)
        await collection.submit(
            SetAligner(
                request_id,
                accepted.space,
                pack_aligner(aligner),
                override_reason=terms.override_reason,
                unverified=admission.unverified,
                against=admission.against,
            )
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

    async def set_shadow_aligner(
        self, tenant: str, name: str, *, aligner: AlignerFiles | None, request_id: str
    ) -> CollectionInfo:
        """Compare an aligner with the active one on real searches, or with None stop that. It changes no answer.

        Returns:
            The collection, at the revision from which searchers know, or a newer one.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: ARTEFACT_DAMAGED.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH.
            UnavailableError: BACKEND_UNAVAILABLE; the store refused.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        shadow = SetShadow(request_id, "", b"")
        if aligner is not None:
            accepted = await self.offload(lambda: accept_aligner(aligner, collection.state.settings))
            shadow = SetShadow(request_id, accepted.space, pack_aligner(aligner))
        await collection.submit(shadow)
        return collection.info()

    async def promotions(self, tenant: str, name: str) -> PromotionHistory:
        """Return what was made active in a collection, newest first: at most the last 100 times.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be read.
        """
        collection = await self._collection(tenant, name)
        with store_errors():
            return await self.offload(collection.history)

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
        check_ids(ids)
        return state.revision, tuple(state.lookup(item_id) for item_id in ids)

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a thread, so that the event loop stays free."""
        return await self._holdings.offload(work)

    async def resolve(self, tenant: str, name: str) -> str:
        """Return the collection that a name stands for."""
        return (await self._collection(tenant, name)).name

    async def set_alias(self, tenant: str, name: str, collection: str, *, terms: SwitchTerms, request_id: str) -> Alias:
        """Point an alias at a collection; see `Holdings.set_alias`."""
        await self._take_turn()
        for field, value in (("tenant", tenant), ("alias", name), ("collection", collection)):
            check_name(value, field=field)
        check_request_id(request_id)
        alias = await self._holdings.set_alias(tenant, name, collection, terms=terms, request_id=request_id)
        log.info("alias set", extra=fields(alias=name, collection=collection, forced=bool(alias.override_reason)))
        return alias

    async def delete_alias(self, tenant: str, name: str, *, request_id: str) -> None:
        """Delete an alias; see `Holdings.remove_alias`."""
        await self._take_turn()
        check_name(name, field="alias")
        check_request_id(request_id)
        await self._holdings.remove_alias(tenant, name, request_id=request_id)

    async def aliases(self, tenant: str) -> tuple[Alias, ...]:
        """Return a tenant's aliases by name."""
        self._check_ready()
        return await self._holdings.aliases(tenant)

    async def restore(
        self, tenant: str, name: str, spool: Spool, *, to_revision: int, request_id: str
    ) -> RestoreResult:
        """Restore a collection from a backup; see `restore_collection`."""
        await self._take_turn()
        check_name(tenant, field="tenant")
        check_name(name, field="collection")
        check_request_id(request_id)
        done = await restore_collection(
            self._holdings, tenant, name, spool, to_revision=to_revision, request_id=request_id
        )
        log.info("collection restored", extra=fields(collection=name, revision=done.info.revision))
        return done

    def announcements(self, *, origin: str, after: int) -> AsyncGenerator[News, None]:
        """Yield what is committed in any collection of any tenant, as it happens; see `Announcer.watch`.

        It is no call that takes the store: a writer that waits beside the active one may be watched.
        """
        return self._holdings.announcer.watch(origin=origin, after=after)

    def leave(self) -> None:
        """End all streams of announcements."""
        self._holdings.announcer.end()

    def _check_ready(self) -> None:
        if not self._ready:
            msg = "the writer is not ready"
            raise UnavailableError(msg, reason="NOT_READY", retry_after_s=1.0)

    async def _take_turn(self) -> None:
        self._check_ready()
        await self._holdings.epoch()

    async def _collection(self, tenant: str, name: str) -> GroupCommitter:
        self._check_ready()
        return await self._holdings.collection(tenant, name)


def _upsert_result(answer: Answer, failures: tuple[ItemFailure, ...]) -> UpsertResult:
    return UpsertResult(
        revision=answer.revision,
        created_count=answer.created_count,
        updated_count=answer.updated_count,
        unchanged_count=answer.unchanged_count,
        failures=failures,
    )
