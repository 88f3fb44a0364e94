"""The handlers of a service as Ray Serve calls them: by name, with a context of Ray's own. Knows no Ray."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import grpc
from google.protobuf import empty_pb2

from isthmus.runtime.rpc.interceptor import ServiceInterceptor
from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.serve_context import CallEndedError, RayContext, ServeContext

__all__ = ["serve_handlers"]


class _Collector:
    """Stands in for a server while services register."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Ignore what is registered once more by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of a service."""
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


def serve_handlers(hosted: Hosted) -> dict[str, Callable[..., Any]]:
    """Return the methods of a service by name, each taking a request and `grpc_context`.

    They behave as on plain gRPC, by the same interceptor: request id, tenant, deadline, metrics, errors. They never
    raise, because Ray would show the caller where: a refusal is set on the context, beside an answer without fields.
    Only cancellation is passed on.
    """
    collector = _Collector()
    for registration in hosted.registrations:
        registration.register(cast("grpc.aio.Server", collector))
    interceptor = ServiceInterceptor(trust_tenant=not hosted.public)
    methods: dict[str, Callable[..., Any]] = {}
    for path, handler in collector.handlers.items():
        wrapped = interceptor.wrap(path, handler)
        name = path.rpartition("/")[2]
        if wrapped.response_streaming:
            methods[name] = _streaming(name, wrapped.stream_stream or wrapped.unary_stream)
        else:
            methods[name] = _unary(name, wrapped.stream_unary or wrapped.unary_unary)
    return methods


def _unary(name: str, behaviour: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    async def method(request: Any, grpc_context: RayContext) -> Any:
        try:
            return await behaviour(request, ServeContext(grpc_context))
        except CallEndedError:
            return empty_pb2.Empty()

    method.__name__ = name
    return method


def _streaming(name: str, behaviour: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    async def method(request: Any, grpc_context: RayContext) -> AsyncIterator[Any]:
        try:
            async with contextlib.aclosing(behaviour(request, ServeContext(grpc_context))) as answers:
                async for answer in answers:
                    yield answer
        except CallEndedError:
            # Ray's classic proxy takes the status from the context that comes with an answer: it needs a last one.
            yield empty_pb2.Empty()

    method.__name__ = name
    return method
