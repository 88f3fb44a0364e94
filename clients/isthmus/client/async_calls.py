"""How a call is carried out on an event loop: `calls`, awaited."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.config import ClientConfig, Tls, resolve_access
from isthmus.client.plan import Plan, Planner
from isthmus.client.status import from_rpc_error
from isthmus.v1 import gateway_service_pb2_grpc

__all__ = ["AsyncCalls"]

Result = TypeVar("Result")


class AsyncCalls:
    """A connection and what all calls over it share. Arguments and errors are those of `AsyncClient`."""

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
        # Made with the first call: a channel belongs to the event loop that is running then.
        self._channel: grpc.aio.Channel | None = None
        self._made_stub: Any = None

    async def close(self) -> None:
        """Close the connection; calls on their way are cancelled. Closing twice is fine."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _stub(self) -> Any:
        if self._channel is None:
            self._channel = self._endpoint.open_async()
            self._made_stub = gateway_service_pb2_grpc.GatewayServiceStub(self._channel)
        return self._made_stub

    async def _run(self, plan: Plan[Result], timeout_s: float | None) -> Result:
        method = getattr(self._stub, plan.method)
        limit_s = plan.timeout_s if timeout_s is None else timeout_s
        answers: list[Any] = []
        requests = iter(plan.requests)
        while True:
            request = await asyncio.to_thread(next, requests, None) if plan.reads_files else next(requests, None)
            if request is None:
                return plan.decode(answers)
            call_id = new_request_id()
            try:
                answers.append(await method(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)))
            except grpc.RpcError as error:
                raise from_rpc_error(error, address=self.address, request_id=call_id) from error
