"""Calls for backups, for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import grpc

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.backups.folder import BackupWriter, restore_requests, restore_result
from isthmus.client.backups.results import Backup, RestoreResult
from isthmus.client.channel import new_request_id
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2

__all__ = ["AsyncBackupCalls"]


class AsyncBackupCalls(AsyncCalls):
    """Calls of `AsyncClient` for backups."""

    async def backup_collection(
        self,
        collection: str,
        folder: str | os.PathLike[str],
        *,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Backup:
        """Copy a collection at one revision into a folder. As `Client.backup_collection`."""
        writer, call_id = await asyncio.to_thread(BackupWriter, folder), new_request_id()
        request = gateway_service_pb2.BackupCollectionRequest(
            collection=collection, min_revision=self._planner.revisions.least(collection, min_revision)
        )
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            answers = self._stub.BackupCollection(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id))
            async for answer in answers:
                await asyncio.to_thread(writer.take, answer.part)
            return await asyncio.to_thread(writer.finish)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        finally:
            writer.close()

    async def restore_collection(
        self,
        folder: str | os.PathLike[str],
        *,
        collection: str = "",
        to_revision: int = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> RestoreResult:
        """Restore a collection from a backup, as a new revision. As `Client.restore_collection`."""
        requests = restore_requests(folder, collection=collection, to_revision=to_revision, request_id=request_id)
        # Read here already, so that a folder that holds no backup is told as what it is.
        first = await asyncio.to_thread(next, requests)
        call_id = new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            answer = await self._stub.RestoreCollection(
                _read(first, requests), timeout=limit_s, metadata=self._endpoint.metadata(call_id)
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        done = restore_result(answer)
        self._planner.revisions.wrote(done.collection.name, done.collection.revision)
        return done


async def _read(
    first: gateway_service_pb2.RestoreCollectionRequest,
    rest: Iterator[gateway_service_pb2.RestoreCollectionRequest],
) -> AsyncIterator[gateway_service_pb2.RestoreCollectionRequest]:
    yield first
    while (request := await asyncio.to_thread(next, rest, None)) is not None:
        yield request
