"""The one table between domain errors and gRPC, out and back in."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2

import isthmus.runtime
from isthmus.runtime.base import errors
from isthmus.runtime.base.errors import InternalError, IsthmusError
from isthmus.runtime.rpc.channel import call, open_channel, stream
from isthmus.runtime.rpc.status import from_item_error, item_error, to_domain_error
from isthmus.v1 import encoder_service_pb2, errors_pb2, index_search_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from tests.unit.runtime.scripted import Scripted, serving

ENCODE = encoder_service_pb2.EncodeRequest()
SERVICES = Path(isthmus.runtime.__file__).parents[1]
REASONS = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 - no mapping


def _classes() -> list[type[IsthmusError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [cls for cls in found if cls not in (IsthmusError, InternalError)]


def _one(cls: type[IsthmusError]) -> IsthmusError:
    msg = "field is wrong"
    return cls(msg, reason="INVALID_FIELD", metadata={"field": "x"}, retry_after_s=0.5)


@pytest.mark.parametrize("cls", _classes())
async def test_every_class_survives_a_hop(cls: type[IsthmusError]) -> None:
    """Raised in one service, caught in another: class, message, reason, metadata and retry are the same."""
    service = Scripted()

    async def _refuse() -> None:
        raise _one(cls)

    service.unary = _refuse
    async with serving(service) as (_, channel):
        with pytest.raises(cls) as caught:
            await call(EncoderServiceStub(channel).Encode, ENCODE, backend="scripted")
    error = caught.value
    assert type(error) is cls
    assert (error.message, error.reason, error.metadata, error.retry_after_s) == (
        "field is wrong",
        "INVALID_FIELD",
        {"field": "x"},
        0.5,
    )


@pytest.mark.parametrize("cls", _classes())
def test_every_class_survives_an_item_error(cls: type[IsthmusError]) -> None:
    """As the error of one item it keeps everything but the time to come back."""
    message = item_error(7, _one(cls))
    assert (message.index, code_pb2.Code.Name(message.code)) == (7, cls.code)
    back = from_item_error(message)
    assert (type(back), back.message, back.reason, back.metadata) == (
        cls,
        "field is wrong",
        "INVALID_FIELD",
        {"field": "x"},
    )


def test_a_bug_is_never_described() -> None:
    """Neither an exception of Python nor an InternalError says anything to a caller."""
    for error in (ZeroDivisionError("canary"), InternalError("canary"), KeyError("/canary")):
        assert to_domain_error(error).message == "internal error"
        assert "canary" not in str(item_error(0, error))


def _raised_reasons() -> Iterator[tuple[str, str]]:
    for path in sorted(SERVICES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "reason" and isinstance(node.value, ast.Constant):
                reason = node.value.value
                if isinstance(reason, str):  # None is no reason, in a dataclass that may hold one
                    yield path.name, reason


def test_every_reason_in_the_code_is_one_of_the_protos() -> None:
    """No service can raise a reason that the wire does not know."""
    raised = list(_raised_reasons())
    assert len(raised) > 20
    assert [(name, reason) for name, reason in raised if reason not in REASONS] == []


async def test_a_backend_that_is_not_there_is_unavailable() -> None:
    """The name of the backend is told, its address is not."""
    async with open_channel("unix:/nonexistent/canary.sock") as channel:
        with pytest.raises(errors.UnavailableError) as caught:
            await call(EncoderServiceStub(channel).Encode, ENCODE, backend="text_encoder")
    assert caught.value.reason == "BACKEND_UNAVAILABLE"
    assert caught.value.metadata == {"backend": "text_encoder"}
    assert "canary" not in caught.value.message


async def test_a_backend_that_is_too_slow_is_a_deadline() -> None:
    """The caller's own bound ends the call."""
    service = Scripted()

    async def _slow() -> None:
        await asyncio.sleep(5)

    service.unary = _slow
    async with serving(service) as (_, channel):
        with pytest.raises(errors.DeadlineExceededError):
            await call(EncoderServiceStub(channel).Encode, ENCODE, backend="scripted", timeout_s=0.1)


async def test_a_backend_that_breaks_is_our_bug() -> None:
    """INTERNAL from behind stays INTERNAL, with nothing added."""
    service = Scripted()

    async def _break_down() -> None:
        raise ZeroDivisionError

    service.unary = _break_down
    async with serving(service) as (_, channel):
        with pytest.raises(InternalError) as caught:
            await call(EncoderServiceStub(channel).Encode, ENCODE, backend="scripted")
    assert caught.value.message == "internal error"


async def test_a_method_that_is_not_there_is_our_bug() -> None:
    """Two versions that do not fit are no matter for the caller."""
    async with serving(Scripted()) as (_, channel):
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/isthmus.v1.EncoderService/No")
        with pytest.raises(InternalError):
            await call(method, b"", backend="scripted")


async def test_leaving_a_stream_early_ends_it_over_there() -> None:
    """Whoever stops reading does not leave the backend producing."""
    service = Scripted()
    ended = asyncio.Event()

    async def _endless():  # type: ignore[no-untyped-def]  # noqa: ANN202
        try:
            while True:
                yield
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    service.streaming = _endless
    async with serving(service) as (_, channel):
        answers = stream(
            IndexSearchServiceStub(channel).ReadItems, index_search_service_pb2.ReadItemsRequest(), backend="scripted"
        )
        async for _ in answers:
            break
        await answers.aclose()
        await asyncio.wait_for(ended.wait(), 1)


async def test_a_refusal_of_a_stream_comes_as_a_domain_error() -> None:
    """A stream that fails in the middle gives what came before, then the error."""
    service = Scripted()

    async def _two_then_fail():  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield
        yield
        msg = "gone"
        raise errors.NotFoundError(msg, reason="COLLECTION_NOT_FOUND")

    service.streaming = _two_then_fail
    count = 0
    async with serving(service) as (_, channel):
        with pytest.raises(errors.NotFoundError):  # noqa: PT012 - the loop is what raises
            async for _ in stream(
                IndexSearchServiceStub(channel).ReadItems,
                index_search_service_pb2.ReadItemsRequest(),
                backend="scripted",
            ):
                count += 1
    assert count == 2
