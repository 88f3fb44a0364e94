"""What happens around every handler: who calls, until when, how long it took, and what an exception becomes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import grpc

from isthmus.runtime.base import context
from isthmus.runtime.base.context import CallContext, Caller
from isthmus.runtime.base.errors import DeadlineExceededError, IsthmusError
from isthmus.runtime.base.limits import DEADLINE_DEFAULT_S, DEADLINE_FLOOR_S
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import RPC_SECONDS
from isthmus.runtime.base.names import check_name
from isthmus.runtime.rpc import metadata, status
from isthmus.runtime.rpc.reading import closing, readable, readable_stream, tolerant

__all__ = ["Door", "ServiceInterceptor"]

log = logging.getLogger("isthmus.rpc")

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


_CALLER: ContextVar[Caller | None] = ContextVar("isthmus_caller", default=None)
"""Whom the door has let in, from there to the handler: one task serves a call from its first header to its last."""


class Door(Protocol):
    """Decides who may call what."""

    def admit(self, method: str, offered: Mapping[str, str]) -> Caller:
        """Return who calls.

        Args:
            method: `/PACKAGE.SERVICE/METHOD`.
            offered: The call's metadata.

        Raises:
            UnauthenticatedError: nobody knows who calls.
            PermissionDeniedError: whoever calls may not do this.
        """

    async def watch(self) -> None:
        """Follow whatever the door goes by, until cancelled."""


class ServiceInterceptor(grpc.aio.ServerInterceptor):
    """Wrap every handler of a server.

    Args:
        trust_tenant: Take tenant and role from the metadata. True between services, False at the public door.
        door: Asked before anything of a call but its metadata is read; None lets everybody in.
        only: Prefix of the methods to wrap; health and reflection are left alone.
    """

    def __init__(self, *, trust_tenant: bool, door: Door | None = None, only: str = "/isthmus.") -> None:
        self._trust_tenant = trust_tenant
        self._door = door
        self._only = only
        self._wrapped: dict[str, Any] = {}
        """Handlers by method, each wrapped once: a call should not pay for it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, wrapped."""
        name = handler_call_details.method
        wrapped = self._wrapped.get(name)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or not name.startswith(self._only):
                return handler
            wrapped = self._wrapped[name] = self.wrap(name, handler)
        if self._door is not None:
            try:
                caller = self._door.admit(name, _texts(handler_call_details.invocation_metadata))
            except IsthmusError as error:
                return self._refusal(name, error)
            _CALLER.set(caller)
        return wrapped

    @staticmethod
    def _refusal(name: str, error: IsthmusError) -> Any:
        method = _Method(name, trust_tenant=False)

        async def refuse(_requests: Any, servicer_context: _Context) -> None:
            await _Call(method, servicer_context).fail(error, servicer_context)

        # Handlers that take a stream are called before any message is read: strangers fill no memory.
        return grpc.stream_unary_rpc_method_handler(refuse)

    def wrap(self, name: str, handler: Any) -> Any:
        """Return a handler with all of this around it.

        Args:
            name: Full name of the method: `/package.Service/Method`.
            handler: gRPC's method handler.
        """
        method = _Method(name, trust_tenant=self._trust_tenant)
        read = readable_stream if handler.request_streaming else readable
        deserialize = tolerant(handler.request_deserializer)
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(
                method.streaming(handler.stream_stream or handler.unary_stream, read),
                deserialize,
                handler.response_serializer,
            )
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(
            method.unary(handler.stream_unary or handler.unary_unary, read),
            deserialize,
            handler.response_serializer,
        )


class _Method:
    """The wrapping of one method."""

    def __init__(self, name: str, *, trust_tenant: bool) -> None:
        _, service, self.name = name.split("/")
        self._service = service.rpartition(".")[2]
        self._trust_tenant = trust_tenant
        self._ok = RPC_SECONDS.labels(self._service, self.name, "OK")

    def unary(
        self, behaviour: Callable[[Any, _Context], Awaitable[Any]], read: Callable[[Any], Any]
    ) -> Callable[[Any, _Context], Awaitable[Any]]:
        """Return a handler with one answer."""

        async def handle(request: Any, servicer_context: _Context) -> Any:
            call = _Call(self, servicer_context)
            try:
                call.enter(servicer_context, default_s=DEADLINE_DEFAULT_S)
                answer = await behaviour(read(request), servicer_context)
            except BaseException as error:  # noqa: BLE001 - everything becomes a status
                await call.fail(error, servicer_context)
            else:
                self.observe(call.started_s, "OK")
                return answer

        return handle

    def streaming(
        self, behaviour: Callable[[Any, _Context], AsyncGenerator[Any, None]], read: Callable[[Any], Any]
    ) -> Callable[[Any, _Context], AsyncIterator[Any]]:
        """Return a handler with many answers. Without a deadline it may run for ever."""

        async def handle(request: Any, servicer_context: _Context) -> AsyncIterator[Any]:
            call = _Call(self, servicer_context)
            try:
                call.enter(servicer_context, default_s=None)
                requests = read(request)
                # Closed here and now when the caller goes away, not whenever the garbage collector comes by.
                async with closing(requests), contextlib.aclosing(behaviour(requests, servicer_context)) as answers:
                    async for answer in answers:
                        yield answer
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - everything becomes a status
                await call.fail(error, servicer_context)
            else:
                self.observe(call.started_s, "OK")

        return handle

    def caller(self, offered: Mapping[str, str]) -> Caller:
        """Return who makes a call with such metadata."""
        if not self._trust_tenant:
            return _CALLER.get() or context.DEFAULT_CALLER
        return Caller(
            tenant=offered.get(metadata.TENANT, context.DEFAULT_TENANT),
            role=offered.get(metadata.ROLE, context.DEFAULT_ROLE),
        )

    def observe(self, started_s: float, code: str) -> None:
        """Count a call that ended."""
        series = self._ok if code == "OK" else RPC_SECONDS.labels(self._service, self.name, code)
        series.observe(time.monotonic() - started_s)


class _Call:
    """One call."""

    __slots__ = ("_caller", "_method", "_request_id", "_traceparent", "started_s")

    def __init__(self, method: _Method, servicer_context: _Context) -> None:
        self.started_s = time.monotonic()
        self._method = method
        offered = _texts(servicer_context.invocation_metadata())
        self._request_id = context.accept_request_id(offered.get(metadata.REQUEST_ID))
        self._caller = method.caller(offered)
        self._traceparent = context.accept_traceparent(offered.get(metadata.TRACEPARENT))

    def enter(self, servicer_context: _Context, *, default_s: float | None) -> None:
        """Make this the current call.

        Raises:
            InvalidArgumentError: INVALID_NAME; the tenant's name is none.
            DeadlineExceededError: the deadline has passed.
        """
        remaining = servicer_context.time_remaining()
        if remaining is None:
            remaining = default_s
        deadline_s = None if remaining is None else self.started_s + remaining
        context.enter(
            CallContext(
                request_id=self._request_id,
                caller=self._caller,
                deadline_s=deadline_s,
                traceparent=self._traceparent,
            )
        )
        if self._caller.tenant != context.DEFAULT_TENANT:
            # It becomes part of paths and keys behind the door.
            check_name(self._caller.tenant, field="tenant")
        if remaining is not None and remaining < DEADLINE_FLOOR_S:
            msg = "the deadline passed before the work began"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")

    async def fail(self, error: BaseException, servicer_context: _Context) -> None:
        """End the call with the status that `error` becomes."""
        if isinstance(error, asyncio.CancelledError):
            self._method.observe(self.started_s, "CANCELLED")
            raise error
        shown = status.to_domain_error(error)
        self._method.observe(self.started_s, shown.code)
        if shown.code == "INTERNAL":
            log.error("call failed", exc_info=error, extra=fields(method=self._method.name))
        elif isinstance(error, IsthmusError):
            log.debug("call refused", extra=fields(method=self._method.name, code=shown.code, reason=shown.reason))
        refusal = status.to_status(error)
        # Not `abort_with_status`: it replaces the trailers by its own.
        await servicer_context.abort(
            refusal.code,
            refusal.details,
            trailing_metadata=(*refusal.trailing_metadata, (metadata.REQUEST_ID, self._request_id)),
        )


def _texts(offered: Any) -> dict[str, str]:
    """Return the metadata that is text."""
    return {key: value for key, value in offered or () if isinstance(value, str)}
