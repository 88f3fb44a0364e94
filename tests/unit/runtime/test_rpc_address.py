"""One string names a service, and every call on its channel says what it must."""

from __future__ import annotations

import time

import pytest

from isthmus.runtime.base import context
from isthmus.runtime.base.context import CallContext
from isthmus.runtime.rpc.address import ServiceAddress
from isthmus.runtime.rpc.channel import call, open_channel, stream
from isthmus.v1 import encoder_service_pb2, index_search_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from tests.unit.runtime.scripted import Scripted, serving

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "target", "application"),
    [
        ("127.0.0.1:7481", "127.0.0.1:7481", ""),
        ("[::1]:7481", "[::1]:7481", ""),
        ("unix:/run/a.sock", "unix:/run/a.sock", ""),
        ("dns:///encoders:7481", "dns:///encoders:7481", ""),
        ("serve://ray-head:9000/text_encoder", "ray-head:9000", "text_encoder"),
        ("serve://[::1]:9000/alignment", "[::1]:9000", "alignment"),
    ],
)
def test_an_address_says_where_and_what(text: str, target: str, application: str) -> None:
    """The target is what gRPC connects to; the application is there for Ray Serve alone."""
    assert ServiceAddress.parse(text) == ServiceAddress(target, application)


@pytest.mark.parametrize(
    "text",
    ["", "host:", "http://host:80", "serve://host/text", "serve://host:9000", "serve://host:9000/", "serve://h:1/a/b"],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """Before any call, with the forms there are."""
    with pytest.raises(ValueError, match="serve://HOST:PORT/APPLICATION"):
        open_channel(text)


class _Recorder(Scripted):
    """Keeps the metadata of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, str]] = []

    async def Encode(self, request, servicer_context):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        self.seen.append(dict(servicer_context.invocation_metadata()))
        return await super().Encode(request, servicer_context)

    async def ReadItems(self, request, servicer_context):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        self.seen.append(dict(servicer_context.invocation_metadata()))
        async for answer in super().ReadItems(request, servicer_context):
            yield answer


async def test_a_call_carries_application_deadline_and_trace() -> None:
    """Through `serve://`: the application; always: the deadline in milliseconds, 5 ms less than ours, and the trace."""
    service = _Recorder()
    async with serving(service) as (server, _), open_channel(f"serve://{server.address}/text_encoder") as channel:
        context.enter(CallContext(request_id="r-1", deadline_s=time.monotonic() + 3, traceparent=TRACE))
        await call(EncoderServiceStub(channel).Encode, encoder_service_pb2.EncodeRequest(), backend="text_encoder")
        due = time.time() + 3
        answers = stream(
            IndexSearchServiceStub(channel).ReadItems,
            index_search_service_pb2.ReadItemsRequest(),
            backend="index_search",
        )
        assert [answer async for answer in answers] == []
    for seen in service.seen:
        assert seen["application"] == "text_encoder"
        assert seen["x-isthmus-request-id"] == "r-1"
        assert seen["traceparent"] == TRACE
        assert abs(int(seen["x-isthmus-deadline"]) / 1000 - due) < 0.5
    assert len(service.seen) == 2


async def test_a_name_of_many_servers_is_spread_over_all() -> None:
    """Calls on one channel go to each of two addresses in turn."""
    services = [_Recorder(), _Recorder()]
    async with serving(services[0]) as (first, _), serving(services[1]) as (second, _):
        ports = [server.address.rpartition(":")[2] for server in (first, second)]
        async with open_channel(f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}") as channel:
            stub = EncoderServiceStub(channel)
            await call(stub.Encode, encoder_service_pb2.EncodeRequest(), backend="text_encoder")
            await channel.channel_ready()
            for _ in range(20):
                await call(stub.Encode, encoder_service_pb2.EncodeRequest(), backend="text_encoder")
    assert all(len(service.seen) >= 5 for service in services)
