"""Erase items on behalf of callers: what of it is the writer's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from isthmus.index.checks import check_ids
from isthmus.index.erasing import Erasure, Gap
from isthmus.index.group_commit import GroupCommitter
from isthmus.index.importing import ImportFolder
from isthmus.index.mutations import Delete
from isthmus.runtime.base.limits import ERASED_DIGESTS_MAX_COUNT
from isthmus.runtime.base.names import check_request_id

__all__ = ["Eraser"]


class Eraser:
    """Erases items of any collection.

    Args:
        collection: Returns the queue of a tenant's collection.
        imports: Where bulk jobs lay files of rows.
        is_local: Whether the store lies in a folder.
    """

    def __init__(
        self,
        collection: Callable[[str, str], Awaitable[GroupCommitter]],
        *,
        imports: ImportFolder,
        is_local: bool,
    ) -> None:
        self._collection = collection
        self._imports = imports
        self._is_local = is_local

    async def erase(self, tenant: str, name: str, *, ids: Sequence[str], request_id: str) -> Erasure:
        """Delete items and remove every copy of them from the store.

        Ids that are not there are erased too: older versions of them may lie in the store's files.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            InvalidArgumentError: EMPTY_INPUT, INVALID_ITEM_ID.
            ResourceExhaustedError: BATCH_TOO_LARGE, QUEUE_FULL, DISK_FULL; to write files again takes room.
            UnavailableError: BACKEND_UNAVAILABLE; they may be deleted and not erased: repeat it. NOT_READY; another
                writer has taken over.
        """
        collection = await self._collection(tenant, name)
        check_request_id(request_id)
        check_ids(ids)
        answer, digests = await collection.erase(Delete(request_id, tuple(dict.fromkeys(ids))))
        gaps: list[Gap] = []
        if len(digests) > ERASED_DIGESTS_MAX_COUNT:
            gaps.append(Gap.SHARED_CACHE)
        if not self._is_local:
            gaps.append(Gap.UNFINISHED_WRITES)
        if self._imports.may_hold_files(tenant):
            gaps.append(Gap.IMPORT_FOLDER)
        return Erasure(answer.revision, answer.deleted_count, digests[:ERASED_DIGESTS_MAX_COUNT], tuple(gaps))
