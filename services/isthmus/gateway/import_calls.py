"""The call that stores files of rows: to the index writer and back."""

from __future__ import annotations

from typing import Any, Final

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.limits import IMPORT_FILES_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import gateway_service_pb2, index_writer_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["ImportCalls"]

_TIMEOUT_S: Final = 120.0


class ImportCalls(GatewayServiceServicer):
    """Importing, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ImportFiles(
        self, request: gateway_service_pb2.ImportFilesRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> gateway_service_pb2.ImportFilesResponse:
        """Store files of rows that lie in the writer's import folder."""
        check_count(request.files, field="files", limit=IMPORT_FILES_MAX_COUNT)
        for file in request.files:
            check_name(file.name, field="files.name")
        answer = await call(
            self._gateway.writer.stub.ImportFiles,
            index_writer_service_pb2.IndexWriterServiceImportFilesRequest(
                collection=check_name(request.collection, field="collection"),
                folder=check_name(request.folder, field="folder"),
                files=request.files,
                request_id=check_request_id(request.request_id),
            ),
            backend="index_writer",
            timeout_s=_TIMEOUT_S,
        )
        return gateway_service_pb2.ImportFilesResponse(files=answer.files, errors=answer.errors)
