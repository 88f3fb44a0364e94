"""What happens around every handler: who calls, until when, how long it took, and what an exception becomes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from isthmus.runtime.base import context
from isthmus.runtime.base.context import CallContext
from isthmus.runtime.base.errors import DeadlineExceededError, IsthmusError
from isthmus.runtime.base.limits import DEADLINE_DEFAULT_S, DEADLINE_FLOOR_S
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import RPC_SECONDS
from isthmus.runtime.base.names import check_name
from isthmus.runtime.rpc import metadata, status

__all__ = ["ServiceInterceptor"]

log = logging.getLogger("isthmus.rpc")

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ServiceInterceptor(grpc.aio.ServerInterceptor):
    """Wrap every handler of a server.

    Args:
        trust_tenant: Take the tenant from the metadata. True between services, False at the public door.
        only: Prefix of the methods to wrap; health and reflection are left alone.
    """

    def __init__(self, *, trust_tenant: bool, only: str = "/isthmus.") -> None:
        self._trust_tenant = trust_tenant
        self._only = only

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, wrapped."""
        details = handler_call_details
        handler = await continuation(details)
        if handler is None or not details.method.startswith(self._only):
            return handler
        offered = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        call = _Call(details.method, offered.get(metadata.REQUEST_ID), self._tenant(offered))
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(
                call.streaming(handler.stream_stream or handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(
            call.unary(handler.stream_unary or handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _tenant(self, offered: dict[str, str]) -> str:
        return offered.get(metadata.TENANT, context.DEFAULT_TENANT) if self._trust_tenant else context.DEFAULT_TENANT


class _Call:
    """The wrapping of one call."""

    def __init__(self, method: str, request_id: str | None, tenant: str) -> None:
        _, service, self._method = method.split("/")
        self._service = service.rpartition(".")[2]
        self._request_id = context.accept_request_id(request_id)
        self._tenant = tenant
        self._started_s = time.monotonic()

    def unary(self, behaviour: Callable[[Any, _Context], Awaitable[Any]]) -> Callable[[Any, _Context], Awaitable[Any]]:
        """Return a handler with one answer."""

        async def handle(request: Any, servicer_context: _Context) -> Any:
            try:
                self._enter(servicer_context, default_s=DEADLINE_DEFAULT_S)
                answer = await behaviour(request, servicer_context)
            except BaseException as error:  # noqa: BLE001 - everything becomes a status
                await self._fail(error, servicer_context)
            else:
                self._observe("OK")
                return answer

        return handle

    def streaming(
        self, behaviour: Callable[[Any, _Context], AsyncGenerator[Any, None]]
    ) -> Callable[[Any, _Context], AsyncIterator[Any]]:
        """Return a handler with many answers. Without a deadline it may run for ever."""

        async def handle(request: Any, servicer_context: _Context) -> AsyncIterator[Any]:
            try:
                self._enter(servicer_context, default_s=None)
                # Closed here and now when the caller goes away, not whenever the garbage collector comes by.
                async with contextlib.aclosing(behaviour(request, servicer_context)) as answers:
                    async for answer in answers:
                        yield answer
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - everything becomes a status
                await self._fail(error, servicer_context)
            else:
                self._observe("OK")

        return handle

    def _enter(self, servicer_context: _Context, *, default_s: float | None) -> None:
        remaining = servicer_context.time_remaining()
        if remaining is None:
            remaining = default_s
        deadline_s = None if remaining is None else time.monotonic() + remaining
        context.enter(CallContext(request_id=self._request_id, tenant=self._tenant, deadline_s=deadline_s))
        # It becomes part of paths and keys behind the door.
        check_name(self._tenant, field="tenant")
        if remaining is not None and remaining < DEADLINE_FLOOR_S:
            msg = "the deadline passed before the work began"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")

    async def _fail(self, error: BaseException, servicer_context: _Context) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._observe("CANCELLED")
            raise error
        shown = status.to_domain_error(error)
        self._observe(shown.code)
        if shown.code == "INTERNAL":
            log.error("call failed", exc_info=error, extra=fields(method=self._method))
        elif isinstance(error, IsthmusError):
            log.debug("call refused", extra=fields(method=self._method, code=shown.code, reason=shown.reason))
        refusal = status.to_status(error)
        # Not `abort_with_status`: it replaces the trailers by its own.
        await servicer_context.abort(
            refusal.code,
            refusal.details,
            trailing_metadata=(*refusal.trailing_metadata, (metadata.REQUEST_ID, self._request_id)),
        )

    def _observe(self, code: str) -> None:
        RPC_SECONDS.labels(self._service, self._method, code).observe(time.monotonic() - self._started_s)
