"""The call that stores files of rows, for asyncio."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.importing import plan
from isthmus.client.importing.results import ImportFile, ImportResult

__all__ = ["AsyncImportCalls"]


class AsyncImportCalls(AsyncCalls):
    """The call of `AsyncClient` that stores files of rows."""

    async def import_files(
        self,
        collection: str,
        folder: str,
        files: Sequence[ImportFile],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ImportResult:
        """Store files of rows that lie in the writer's import folder. As `Client.import_files`."""
        return await self._run(
            plan.import_files(self._planner, collection, folder, files, request_id=request_id), timeout_s
        )
