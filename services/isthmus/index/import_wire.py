"""What became of imported files, for the wire."""

from __future__ import annotations

from isthmus.index.importing import ImportOutcome
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import importing_pb2, index_writer_service_pb2

__all__ = ["import_message"]


def import_message(outcome: ImportOutcome) -> index_writer_service_pb2.IndexWriterServiceImportFilesResponse:
    """Return the answer to an import."""
    return index_writer_service_pb2.IndexWriterServiceImportFilesResponse(
        files=[
            importing_pb2.ImportedFile(
                index=index,
                revision=result.revision,
                created_count=result.created_count,
                updated_count=result.updated_count,
                unchanged_count=result.unchanged_count,
                errors=[item_error(failure.index, failure.error) for failure in result.failures],
            )
            for index, result in outcome.stored.items()
        ],
        errors=[item_error(index, error) for index, error in outcome.refused.items()],
    )
