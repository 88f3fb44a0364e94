"""One stream of an upsert, for threads: what is put on it is sent by a thread of grpc."""

from __future__ import annotations

import contextlib
import queue
from types import TracebackType
from typing import Any, Self

import grpc

from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.items.upsert import StreamBrokenError, ended_early
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2, gateway_service_pb2_grpc

__all__ = ["UpsertStream"]


class UpsertStream:
    """Opens with the first message that is sent. Leaving the block ends it in good order, or cancels it after an error.

    Args:
        stub: Of the gateway.
        endpoint: Where it leads.
        timeout_s: Deadline of the stream.
    """

    def __init__(
        self, stub: gateway_service_pb2_grpc.GatewayServiceStub, *, endpoint: Endpoint, timeout_s: float
    ) -> None:
        self._stub = stub
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._call_id = new_request_id()
        # Never holds more than the session's window and the end mark; grpc's thread waits on it.
        self._outbox: queue.SimpleQueue[gateway_service_pb2.UpsertItemsRequest | None] = queue.SimpleQueue()
        self._call: Any = None
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def send(self, request: gateway_service_pb2.UpsertItemsRequest) -> None:
        """Put a message on the stream."""
        self._outbox.put(request)
        if self._call is None:
            self._call = self._stub.UpsertItems(
                iter(self._outbox.get, None), timeout=self._timeout_s, metadata=self._endpoint.metadata(self._call_id)
            )

    def end(self) -> None:
        """Say that nothing more will be sent; saying it again is fine."""
        if not self._ended:
            self._ended = True
            self._outbox.put(None)

    def receive(self) -> gateway_service_pb2.UpsertItemsResponse:
        """Wait for an answer.

        Raises:
            StreamBrokenError: none will come.
        """
        try:
            for response in self._call:
                assert isinstance(response, gateway_service_pb2.UpsertItemsResponse)
                return response
        except grpc.RpcError as error:
            shown = from_rpc_error(error, address=self._endpoint.address, request_id=self._call_id)
            raise StreamBrokenError(shown) from error
        raise ended_early()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if self._call is None:
            return
        if kind is not None:
            self._call.cancel()
            return
        # Every message is acknowledged, so how the stream ends changes nothing; waiting for it spares the mesh a
        # cancellation.
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass
