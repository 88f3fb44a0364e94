"""The call that stores files of rows, for threads and scripts."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.calls import Calls
from isthmus.client.importing import plan
from isthmus.client.importing.results import ImportFile, ImportResult

__all__ = ["ImportCalls"]


class ImportCalls(Calls):
    """The call of `Client` that stores files of rows."""

    def import_files(
        self,
        collection: str,
        folder: str,
        files: Sequence[ImportFile],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ImportResult:
        """Store files of rows that a bulk job has laid into the writer's import folder; return when they are durable.

        Each file is applied as a whole. One that is damaged or not there is reported and harms no other.

        Args:
            collection: Where they go.
            folder: Below the caller's tenant in the import folder.
            files: The files, in the order they are applied.
            request_id: Names the mutation; the same file under the same id is applied once.
            timeout_s: Deadline of each message.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.import_files(self._planner, collection, folder, files, request_id=request_id), timeout_s)
