"""How a call is carried out by a thread; `async_calls` is the twin for asyncio."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.config import ClientConfig, Tls, resolve_access
from isthmus.client.plan import Plan, Planner
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2_grpc

__all__ = ["Calls"]

Result = TypeVar("Result")


class Calls:
    """A connection and what all calls over it share. Arguments and errors are those of `Client`."""

    def __init__(
        self,
        address: str | None = None,
        *,
        tls: Tls | None = None,
        api_key: str | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        settled = resolve_access(config or ClientConfig(), tls=tls, api_key=api_key)
        self._endpoint = Endpoint.resolve(address, settled)
        self.address = self._endpoint.address
        self._planner = Planner(settled)
        self._channel = self._endpoint.open()
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection; calls on their way are cancelled. Closing twice is fine."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, plan: Plan[Result], timeout_s: float | None) -> Result:
        method = getattr(self._stub, plan.method)
        limit_s = plan.timeout_s if timeout_s is None else timeout_s
        answers: list[Any] = []
        for request in plan.requests:
            call_id = new_request_id()
            try:
                answers.append(method(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)))
            except grpc.RpcError as error:
                raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return plan.decode(answers)
