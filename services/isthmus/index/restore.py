"""Restore a collection from a backup that has arrived: into the collection of its name, or as a new one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from isthmus.core.modality import Modality
from isthmus.index.backups import BackupManifest, read_backup
from isthmus.index.events import Answer
from isthmus.index.group_commit import GroupCommitter
from isthmus.index.holdings import Holdings
from isthmus.index.model import CollectionInfo, CollectionSettings
from isthmus.index.restore_plan import restore_mutation
from isthmus.index.restoring import RestorePoint
from isthmus.index.spool import Spool
from isthmus.runtime.base.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError

__all__ = ["RestoreResult", "restore_collection"]


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        info: The collection, at its new revision or a newer one.
        revision: Of the backup, that was restored.
        answer: Items that were put back, replaced, removed and left alone.
    """

    info: CollectionInfo
    revision: int
    answer: Answer


async def restore_collection(
    holdings: Holdings, tenant: str, name: str, spool: Spool, *, to_revision: int, request_id: str
) -> RestoreResult:
    """Restore a collection; nothing is written before all of the backup has been checked.

    Into the collection that has the backup's name it is one commit on top of all others: what is not to be there is
    deleted, what is missing or different is put back, and the aligner is made active again if it is not. Under a name
    that is free a collection is made that holds what counted, its revisions going on above the backup's.

    Args:
        holdings: Of the writer.
        tenant: Whose collection it is.
        name: The backup's own, or one that is free.
        spool: The backup.
        to_revision: Of the backup; 0 means its newest.
        request_id: Names the mutation; the same id again is answered alike and applied once.

    Raises:
        DataLossError: BACKUP_DAMAGED.
        FailedPreconditionError: REVISION_NOT_HELD; SPACE_MISMATCH, the collection has other spaces; NAME_IS_ALIAS.
        AlreadyExistsError: COLLECTION_EXISTS; another collection has the name.
        ResourceExhaustedError: LIMIT_EXCEEDED, QUEUE_FULL, DISK_FULL.
        UnavailableError: BACKEND_UNAVAILABLE; the store refused. NOT_READY; another writer has taken over.
    """
    manifest = await asyncio.to_thread(spool.finish)
    point = await asyncio.to_thread(lambda: RestorePoint(read_backup(spool.folder, manifest), manifest, to_revision))
    existing = await _existing(holdings, tenant, name)
    known = None if existing is None else existing.state.answers.get(request_id)
    if existing is not None and known is not None:
        return RestoreResult(existing.info(), point.revision, known)
    if existing is None:
        rows, answer = await asyncio.to_thread(point.table, request_id)
        settings = CollectionSettings.from_json(manifest.settings)
        made = await holdings.create(tenant, name, settings=settings, first=rows, request_id=request_id)
        return RestoreResult(made.info(), point.revision, answer)
    _check_target(existing, manifest)
    state = await asyncio.to_thread(point.state)
    answer = await existing.submit(restore_mutation(state, request_id))
    return RestoreResult(existing.info(), point.revision, answer)


async def _existing(holdings: Holdings, tenant: str, name: str) -> GroupCommitter | None:
    try:
        return await holdings.collection(tenant, name)
    except NotFoundError:
        return None


def _check_target(existing: GroupCommitter, manifest: BackupManifest) -> None:
    if existing.name != manifest.name:
        msg = f"the collection is there already, and the backup is of {manifest.name}; name that one or a free name"
        raise AlreadyExistsError(msg, reason="COLLECTION_EXISTS", metadata={"backup_of": manifest.name})
    backed, now = CollectionSettings.from_json(manifest.settings), existing.state.settings
    for modality in Modality:
        if (backed.space(modality), backed.dimension(modality)) != (now.space(modality), now.dimension(modality)):
            msg = f"the backup's {modality} space is not the collection's; restore it under a name that is free"
            metadata = {"space": backed.space(modality), "expected": now.space(modality)}
            raise FailedPreconditionError(msg, reason="SPACE_MISMATCH", metadata=metadata)
