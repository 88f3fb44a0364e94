"""Calls between services: options, deadline, request id, tenant, trace; failures come back as domain errors."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any, Final, TypeVar

import grpc

from isthmus.runtime.base import context
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES
from isthmus.runtime.base.metrics import BACKEND_CALLS
from isthmus.runtime.rpc import metadata, status
from isthmus.runtime.rpc.address import ServiceAddress
from isthmus.runtime.rpc.serve_channel import ServeChannel
from isthmus.runtime.rpc.tls_channel import ChannelTls, TlsChannel

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
    # A name may stand for several servers. All of them are used, and new ones are found as soon as a connection ends.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    # Calls between services are local: a proxy from the environment must never see them.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, *, tls: ChannelTls | None = None) -> grpc.aio.Channel:
    """Open a channel to a service; it connects on first use.

    Args:
        address: `HOST:PORT`, `unix:PATH` or `serve://HOST:PORT/APPLICATION`.
        tls: This process's side of TLS; None calls in the clear. Unix sockets need none, and Ray Serve has none.

    Raises:
        ValueError: the address is none.
    """
    parsed = ServiceAddress.parse(address)
    if tls is not None and not parsed.application and not parsed.target.startswith("unix:"):
        return TlsChannel(tls, lambda identity: grpc.aio.secure_channel(parsed.target, identity, options=_OPTIONS))
    channel = grpc.aio.insecure_channel(parsed.target, options=_OPTIONS)
    return ServeChannel(channel, parsed.application) if parsed.application else channel


def _metadata(timeout_s: float | None) -> tuple[tuple[str, str], ...]:
    call_context = context.current()
    pairs = [
        (metadata.REQUEST_ID, call_context.request_id),
        (metadata.TENANT, call_context.tenant),
        (metadata.ROLE, call_context.caller.role),
    ]
    if timeout_s is not None:
        pairs.append((metadata.DEADLINE, str(int((time.time() + timeout_s) * 1000))))
    if call_context.traceparent is not None:
        pairs.append((metadata.TRACEPARENT, call_context.traceparent))
    return tuple(pairs)


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
    bound = min((bound for bound in (remaining, timeout_s) if bound is not None), default=None)
    try:
        answer = await method(request, timeout=bound, metadata=_metadata(bound))
    except grpc.RpcError as error:
        raise _failed(error, backend) from error
    BACKEND_CALLS.labels(backend, "OK").inc()
    return answer


async def stream(method: Any, request: object, *, backend: str) -> AsyncGenerator[Any, None]:
    """Yield the answers of a streaming `method` on behalf of the call being served.

    Raises:
        IsthmusError: as `call`.
    """
    timeout_s = context.current().hop_timeout_s()
    answers = method(request, timeout=timeout_s, metadata=_metadata(timeout_s))
    try:
        async for message in answers:
            # An answer without any field says nothing: it only brings the status through Ray's classic proxy.
            if message.ByteSize():
                yield message
        BACKEND_CALLS.labels(backend, "OK").inc()
    except grpc.RpcError as error:
        raise _failed(error, backend) from error
    finally:
        answers.cancel()  # whoever stops reading wants no more


def _failed(error: grpc.RpcError, backend: str) -> IsthmusError:
    """Count a call that failed; return what it means here."""
    assert isinstance(error, grpc.aio.AioRpcError)
    BACKEND_CALLS.labels(backend, error.code().name).inc()
    return status.from_rpc_error(error, backend=backend)
