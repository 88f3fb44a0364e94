"""The calls that copy a collection and bring it back, parts of the two index services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from isthmus.index import wire
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.spool import Spool
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.v1 import backup_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceServicer
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceServicer

__all__ = ["BackupCalls", "RestoreCalls"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class BackupCalls(IndexSearchServiceServicer):
    """Backups, a part of `IndexSearchService`."""

    _engine: SearcherEngine

    async def BackupCollection(
        self, request: index_search_service_pb2.IndexSearchServiceBackupCollectionRequest, _context: _Context
    ) -> AsyncIterator[index_search_service_pb2.IndexSearchServiceBackupCollectionResponse]:
        """Copy a collection at one revision."""
        call = context.current()
        name, min_revision = await self._engine.resolve(
            call.tenant, request.collection, min_revision=request.min_revision, timeout_s=call.remaining_s()
        )
        parts = await self._engine.backup(call.tenant, name, min_revision=min_revision, timeout_s=call.remaining_s())
        async with contextlib.aclosing(parts):
            async for file, data in parts:
                yield index_search_service_pb2.IndexSearchServiceBackupCollectionResponse(
                    part=backup_pb2.BackupPart(file=file, data=data)
                )


class RestoreCalls(IndexWriterServiceServicer):
    """Restoring, a part of `IndexWriterService`."""

    _engine: WriterEngine

    async def RestoreCollection(
        self,
        request_iterator: AsyncIterator[index_writer_service_pb2.IndexWriterServiceRestoreCollectionRequest],
        _context: _Context,
    ) -> index_writer_service_pb2.IndexWriterServiceRestoreCollectionResponse:
        """Restore a collection from a backup."""
        first = None
        spool = await asyncio.to_thread(Spool)
        try:
            async for request in request_iterator:
                first = first or request
                if request.HasField("part"):
                    await asyncio.to_thread(spool.take, request.part.file, request.part.data)
            if first is None:
                msg = "collection is required, in the first message"
                raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "collection"})
            done = await self._engine.restore(
                context.current().tenant,
                first.collection,
                spool,
                to_revision=first.to_revision,
                request_id=first.request_id,
            )
        finally:
            await asyncio.to_thread(spool.close)
        return index_writer_service_pb2.IndexWriterServiceRestoreCollectionResponse(
            collection=wire.collection_message(done.info),
            restored_revision=done.revision,
            created_count=done.answer.created_count,
            updated_count=done.answer.updated_count,
            deleted_count=done.answer.deleted_count,
            unchanged_count=done.answer.unchanged_count,
        )
