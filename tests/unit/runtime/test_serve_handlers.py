"""A service behind Ray's calling convention behaves as on plain gRPC, and never raises."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from isthmus.runtime.base import context
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.serve.handlers import serve_handlers
from isthmus.v1 import encoder_service_pb2, index_search_service_pb2
from tests.unit.runtime.scripted import Scripted

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CANARY = "/srv/secret/canary.py"
ENCODE = encoder_service_pb2.EncodeRequest()
READ = index_search_service_pb2.ReadItemsRequest()


class RayContextStub:
    """Keeps what is set on it, as `RayServegRPCContext` does."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.trailers: dict[str, str | bytes] = {}

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return what the caller sent."""
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """Keep it."""
        self.code = code

    def set_details(self, details: str) -> None:
        """Keep it."""
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str | bytes]]) -> None:
        """Keep it."""
        self.trailers = dict(trailing_metadata)

    def reason(self) -> str:
        """Return the reason in the trailers."""
        details = self.trailers["grpc-status-details-bin"]
        assert isinstance(details, bytes)
        info = error_details_pb2.ErrorInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(info)
        assert info.domain == "isthmus"
        return str(info.reason)


def _in_ms(seconds: float) -> str:
    return str(int((time.time() + seconds) * 1000))


def test_every_method_is_there_in_the_shape_that_ray_looks_for() -> None:
    """By name, as a coroutine or an asynchronous generator, with a `grpc_context`."""
    methods = serve_handlers(Scripted().hosted())
    services = (
        encoder_service_pb2.DESCRIPTOR.services_by_name["EncoderService"],
        index_search_service_pb2.DESCRIPTOR.services_by_name["IndexSearchService"],
    )
    streams = {method.name: method.server_streaming for service in services for method in service.methods}
    assert set(methods) == set(streams)
    for name, method in methods.items():
        assert method.__name__ == name
        assert list(inspect.signature(method).parameters) == ["request", "grpc_context"]
        assert inspect.isasyncgenfunction(method) is streams[name]
        assert inspect.iscoroutinefunction(method) is not streams[name]


async def test_a_call_knows_its_tenant_deadline_id_and_trace() -> None:
    """All of them come from our own metadata, because Ray hides gRPC's deadline."""
    service, seen = Scripted(), []

    async def _look() -> None:
        seen.append(context.current())

    service.unary = _look
    ray = RayContextStub(
        ("x-isthmus-tenant", "acme"),
        ("x-isthmus-request-id", "r-1"),
        ("x-isthmus-deadline", _in_ms(3)),
        ("traceparent", TRACE),
        ("application", "text_encoder"),
    )
    answer = await serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=ray)
    assert isinstance(answer, encoder_service_pb2.EncodeResponse)
    assert ray.code is None
    (call,) = seen
    assert (call.tenant, call.request_id, call.traceparent) == ("acme", "r-1", TRACE)
    remaining = call.remaining_s()
    assert remaining is not None
    assert 2 < remaining <= 3.1


@pytest.mark.parametrize("offered", [None, "soon", "-5", "9" * 17, "١٢٣"])
async def test_without_a_sound_deadline_a_unary_call_gets_ten_seconds(offered: str | None) -> None:
    """Metadata that is no time is no deadline."""
    service = Scripted()
    seen: list[float] = []

    async def _look() -> None:
        seen.append(context.current().remaining_s() or 0.0)

    service.unary = _look
    ray = RayContextStub(*([("x-isthmus-deadline", offered)] if offered is not None else []))
    await serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=ray)
    assert 9 < seen[0] <= 10.1


async def test_a_deadline_that_has_passed_is_refused_at_once() -> None:
    """The handler is not called."""
    service, calls = Scripted(), []

    async def _count() -> None:
        calls.append(1)

    service.unary = _count
    ray = RayContextStub(("x-isthmus-deadline", _in_ms(-0.1)))
    await serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=ray)
    assert (ray.code, ray.reason(), calls) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", [])


async def test_a_refusal_is_set_on_the_context_and_not_raised() -> None:
    """Code, message, ErrorInfo and the request id are what plain gRPC sends; the answer beside them is empty."""
    service = Scripted()

    async def _refuse() -> None:
        msg = "inputs holds 300 entries; the limit is 256"
        raise ResourceExhaustedError(msg, reason="QUEUE_FULL", retry_after_s=0.25)

    service.unary = _refuse
    ray = RayContextStub(("x-isthmus-request-id", "mine"))
    answer = await serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=ray)
    assert answer.SerializeToString() == b""
    assert (ray.code, ray.details) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "inputs holds 300 entries; the limit is 256",
    )
    assert ray.reason() == "QUEUE_FULL"
    assert ray.trailers["x-isthmus-request-id"] == "mine"


async def test_a_bug_tells_nothing() -> None:
    """Neither code, details nor trailers hold anything of an exception that nobody foresaw."""
    service = Scripted()

    async def _break_down() -> None:
        raise ZeroDivisionError(CANARY)

    service.unary = _break_down
    ray = RayContextStub()
    await serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=ray)
    assert (ray.code, ray.details, ray.reason()) == (grpc.StatusCode.INTERNAL, "internal error", "INTERNAL")
    assert "canary" not in repr(ray.trailers)


async def test_a_stream_that_is_refused_ends_with_an_empty_answer() -> None:
    """What was sent stays sent; the last answer, without fields, brings the status past Ray's classic proxy."""
    service = Scripted()

    async def _one_then_refuse() -> AsyncIterator[None]:
        yield
        msg = "no more"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD")

    service.streaming = _one_then_refuse
    ray = RayContextStub()
    answers = [answer async for answer in serve_handlers(service.hosted())["ReadItems"](READ, grpc_context=ray)]
    assert [len(answer.SerializeToString()) > 0 for answer in answers] == [True, False]
    assert (ray.code, ray.reason()) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_a_cancelled_call_is_cancelled_inside() -> None:
    """Cancellation reaches the handler and leaves it as what it is."""
    service, ended = Scripted(), asyncio.Event()
    entered = asyncio.Event()

    async def _wait() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    service.unary = _wait
    call = asyncio.ensure_future(serve_handlers(service.hosted())["Encode"](ENCODE, grpc_context=RayContextStub()))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
