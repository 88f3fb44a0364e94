"""Calls from one service to another: options, deadline, request id and tenant; failures come back as domain errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, TypeVar

import grpc

from isthmus.runtime.base import context
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES
from isthmus.runtime.rpc import metadata, status

__all__ = ["call", "open_channel", "stream"]

Request = TypeVar("Request")
Response = TypeVar("Response")

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", INTERNAL_RECEIVE_MAX_BYTES),
    ("grpc.max_send_message_length", INTERNAL_RECEIVE_MAX_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
    # A service that restarts must be found again within seconds, not after gRPC's default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Calls between services are local: a proxy from the environment must never see them.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """Open a channel to a service at `unix:PATH` or `HOST:PORT`; it connects on first use."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def _metadata() -> tuple[tuple[str, str], ...]:
    call_context = context.current()
    return ((metadata.REQUEST_ID, call_context.request_id), (metadata.TENANT, call_context.tenant))


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    backend: str,
    timeout_s: float | None = None,
) -> Response:
    """Call `method` on behalf of the call being served.

    Args:
        method: A stub's method.
        request: Its request.
        backend: Name of the service, for messages.
        timeout_s: Upper bound; the caller's remaining deadline bounds it too.

    Raises:
        IsthmusError: what the backend refused with, UNAVAILABLE when it cannot be reached.
    """
    remaining = context.current().hop_timeout_s()
    bounds = [bound for bound in (remaining, timeout_s) if bound is not None]
    try:
        return await method(request, timeout=min(bounds) if bounds else None, metadata=_metadata())
    except grpc.RpcError as error:
        raise status.from_rpc_error(error, backend=backend) from error


async def stream(method: Any, request: object, *, backend: str) -> AsyncGenerator[Any, None]:
    """Yield the answers of a streaming `method` on behalf of the call being served.

    Raises:
        IsthmusError: as `call`.
    """
    answers = method(request, timeout=context.current().hop_timeout_s(), metadata=_metadata())
    try:
        async for message in answers:
            yield message
    except grpc.RpcError as error:
        raise status.from_rpc_error(error, backend=backend) from error
    finally:
        answers.cancel()  # whoever stops reading wants no more
