"""Calls for backups, for threads and scripts."""

from __future__ import annotations

import itertools
import os

import grpc

from isthmus.client.backups.folder import BackupWriter, restore_requests, restore_result
from isthmus.client.backups.results import Backup, RestoreResult
from isthmus.client.calls import Calls
from isthmus.client.channel import new_request_id
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2

__all__ = ["BackupCalls"]


class BackupCalls(Calls):
    """Calls of `Client` for backups."""

    def backup_collection(
        self,
        collection: str,
        folder: str | os.PathLike[str],
        *,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Backup:
        """Copy a collection at one revision into a folder, while it is written to.

        Args:
            collection: Its name.
            folder: Of this machine, empty or not there yet; it is a backup once it holds `manifest.json`.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FileExistsError: there is something in the folder.
            DataLossError: STORE_DAMAGED; BACKUP_DAMAGED, something was lost on the way.
            IsthmusError: the call failed otherwise.
        """
        writer, call_id = BackupWriter(folder), new_request_id()
        request = gateway_service_pb2.BackupCollectionRequest(
            collection=collection, min_revision=self._planner.revisions.least(collection, min_revision)
        )
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            answers = self._stub.BackupCollection(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id))
            for answer in answers:
                writer.take(answer.part)
            return writer.finish()
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        finally:
            writer.close()

    def restore_collection(
        self,
        folder: str | os.PathLike[str],
        *,
        collection: str = "",
        to_revision: int = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> RestoreResult:
        """Restore a collection from a backup, as a new revision: into the one of its name, or as a new one.

        Args:
            folder: Of the backup.
            collection: The name that the backup has, which empty means, or one that is free.
            to_revision: Of the backup, that is to be restored; 0 means its newest.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            DataLossError: BACKUP_DAMAGED; nothing was written.
            FailedPreconditionError: REVISION_NOT_HELD, SPACE_MISMATCH, NAME_IS_ALIAS.
            AlreadyExistsError: COLLECTION_EXISTS; another collection has the name.
            IsthmusError: the call failed otherwise.
        """
        requests = restore_requests(folder, collection=collection, to_revision=to_revision, request_id=request_id)
        # Read here already, so that a folder that holds no backup is told as what it is.
        first, call_id = next(requests), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            answer = self._stub.RestoreCollection(
                itertools.chain((first,), requests), timeout=limit_s, metadata=self._endpoint.metadata(call_id)
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        done = restore_result(answer)
        self._planner.revisions.wrote(done.collection.name, done.collection.revision)
        return done
