"""One stream of an upsert, for asyncio: the twin of `streams`."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Final, Self

import grpc

from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.items.upsert import StreamBrokenError, ended_early
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2

__all__ = ["AsyncUpsertStream"]

_WRITE_ERRORS: Final = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""How writing on a stream that has ended fails, depending on the moment."""


class AsyncUpsertStream:
    """Opens with the first message that is sent. Leaving the block ends it in good order, or cancels it after an error.

    Args:
        stub: Of the gateway, over an aio channel.
        endpoint: Where it leads.
        timeout_s: Deadline of the stream.
    """

    def __init__(self, stub: Any, *, endpoint: Endpoint, timeout_s: float) -> None:
        self._stub = stub
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._call_id = new_request_id()
        self._call: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def send(self, request: gateway_service_pb2.UpsertItemsRequest) -> None:
        """Put a message on the stream; `receive` tells when it broke."""
        if self._call is None:
            self._call = self._stub.UpsertItems(
                timeout=self._timeout_s, metadata=self._endpoint.metadata(self._call_id)
            )
        with contextlib.suppress(*_WRITE_ERRORS):
            await self._call.write(request)

    async def end(self) -> None:
        """Say that nothing more will be sent; saying it again is fine."""
        if self._call is not None:
            with contextlib.suppress(*_WRITE_ERRORS):
                await self._call.done_writing()

    async def receive(self) -> gateway_service_pb2.UpsertItemsResponse:
        """Wait for an answer.

        Raises:
            StreamBrokenError: none will come.
        """
        try:
            response = await self._call.read()
        except grpc.RpcError as error:
            shown = from_rpc_error(error, address=self._endpoint.address, request_id=self._call_id)
            raise StreamBrokenError(shown) from error
        if not isinstance(response, gateway_service_pb2.UpsertItemsResponse):
            raise ended_early()
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is None:
            return
        if kind is not None:
            self._call.cancel()
            return
        # Every message is acknowledged, so how the stream ends changes nothing; waiting for it spares the mesh a
        # cancellation.
        with contextlib.suppress(grpc.RpcError):
            await self._call.read()
