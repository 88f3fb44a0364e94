"""What an import sends, and how its answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from isthmus.client.channel import new_request_id
from isthmus.client.chunking import batches
from isthmus.client.importing.results import ImportedFile, ImportFile, ImportResult
from isthmus.client.plan import Plan, Planner
from isthmus.client.status import from_item_error
from isthmus.v1 import gateway_service_pb2, importing_pb2

__all__ = ["import_files"]

_FILES_MAX_COUNT: Final = 16
"""Files in one message."""


def import_files(
    planner: Planner, collection: str, folder: str, files: Sequence[ImportFile], *, request_id: str | None
) -> Plan[ImportResult]:
    """Plan an import."""
    # A file keeps its own name within a mutation, so all messages may carry the same id.
    name = request_id or new_request_id()

    def read(answers: Sequence[gateway_service_pb2.ImportFilesResponse]) -> ImportResult:
        stored, refused = [], []
        for number, answer in enumerate(answers):
            first = number * _FILES_MAX_COUNT
            stored += [_stored(message, files[first + message.index].name) for message in answer.files]
            refused += [from_item_error(error, index=first + error.index) for error in answer.errors]
        planner.revisions.wrote(collection, max((file.revision for file in stored), default=0))
        return ImportResult(files=tuple(stored), errors=tuple(refused))

    return planner.plan(
        "ImportFiles",
        (
            gateway_service_pb2.ImportFilesRequest(
                collection=collection,
                folder=folder,
                files=[importing_pb2.ImportFile(name=file.name, digest=file.digest) for file in run],
                request_id=name,
            )
            for run in batches(files, size=_FILES_MAX_COUNT)
        ),
        read,
    )


def _stored(message: importing_pb2.ImportedFile, name: str) -> ImportedFile:
    return ImportedFile(
        name=name,
        revision=message.revision,
        created=message.created_count,
        updated=message.updated_count,
        unchanged=message.unchanged_count,
        errors=tuple(from_item_error(error, index=error.index) for error in message.errors),
    )
