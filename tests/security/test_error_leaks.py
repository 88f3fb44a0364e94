"""What a caller is told when something breaks: nothing from inside, whatever broke and wherever."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1 import common_pb2
from isthmus.v1 import gateway_service_pb2 as pb
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer, add_GatewayServiceServicer_to_server
from tests.security.edge import Answer, any_call
from tests.unit.gateway.mesh import gateway_mesh

CANARY: Final = "canary at 10.9.8.7, /srv/isthmus/secret/canary.py, module isthmus.gateway.canary, 0x7f00deadbeef"
METHODS: Final = pb.DESCRIPTOR.services_by_name["GatewayService"].methods
_INSIDE: Final = re.compile(
    rb"canary|10\.9\.8\.7|/srv|/tmp|/work|/home|\.py\b|\.sock|unix:|isthmus\.(gateway|index|runtime|alignment)"
    rb"|Traceback|Error\(|0x7f|127\.0\.0\.1|localhost"
)
"""Paths, addresses, modules, memory: nothing of that leaves the process."""


def _leaks(answer: Answer) -> list[bytes]:
    shown = answer.message.encode() + repr(answer.metadata).encode() + answer.trailers + b"".join(answer.messages)
    return [found.group() for found in _INSIDE.finditer(shown)]


def _break(streaming: bool) -> Any:  # noqa: FBT001 - one of two shapes
    async def unary(*_: object) -> None:
        raise RuntimeError(CANARY)

    async def stream(*_: object) -> AsyncIterator[None]:
        raise RuntimeError(CANARY)
        yield

    return stream if streaming else unary


def _broken() -> Any:
    """Return a servicer that fails in every method, with an exception full of what must not be told."""
    methods = {method.name: _break(method.server_streaming) for method in METHODS}
    return type("Broken", (GatewayServiceServicer,), methods)()


async def test_an_exception_in_any_method_tells_nothing() -> None:
    """Every method of the API, raising: INTERNAL, the words `internal error`, and a request id."""

    async def nothing() -> None:
        return

    def register(server: grpc.aio.Server) -> None:
        add_GatewayServiceServicer_to_server(_broken(), server)

    hosted = Hosted(
        name="gateway",
        registrations=[Registration("isthmus.v1.GatewayService", register)],
        warm=nothing,
        close=nothing,
        public=True,
    )
    server = RpcServer(hosted, "127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for method in METHODS:
                answer = await any_call(channel, f"/isthmus.v1.GatewayService/{method.name}")
                assert (answer.code, answer.reason, answer.message) == ("INTERNAL", "INTERNAL", "internal error")
                assert b"x-isthmus-request-id=" in answer.trailers
                assert _leaks(answer) == []
    finally:
        await server.drain(grace_s=0)


def _requests() -> dict[str, bytes]:
    """Return a request of every method that gets past the checks at the door."""
    text = common_pb2.Input(text="a")
    made = {
        "Embed": pb.EmbedRequest(inputs=[text]),
        "UpsertItems": pb.UpsertItemsRequest(
            collection="things", items=[pb.UpsertItem(id="a", text="a")], request_id="r"
        ),
        "SearchItems": pb.SearchItemsRequest(collection="things", text="a", top_k=1),
        "GetItems": pb.GetItemsRequest(collection="things", ids=["a"]),
        "DeleteItems": pb.DeleteItemsRequest(collection="things", ids=["a"], request_id="r"),
        "CreateCollection": pb.CreateCollectionRequest(name="things", request_id="r"),
        "GetCollection": pb.GetCollectionRequest(name="things"),
        "DeleteCollection": pb.DeleteCollectionRequest(name="things", request_id="r"),
        "Evaluate": pb.EvaluateRequest(collection="things"),
        "FitAligner": pb.FitAlignerRequest(collection="things", aligner_id="a", method="center", request_id="r"),
        "GetAligner": pb.GetAlignerRequest(aligner="a"),
        "RollbackAligner": pb.RollbackAlignerRequest(collection="things", request_id="r"),
    }
    return {name: message.SerializeToString() for name, message in made.items()}


@pytest.mark.parametrize("state", ["before it is made", "with everything behind gone"])
async def test_whatever_is_wrong_behind_the_gateway_tells_nothing(tmp_path: Path, state: str) -> None:
    """Every method, with nothing there, and with every service behind dead: no path, socket, address or module."""
    async with (
        gateway_mesh(data_dir=tmp_path, status_timeout_s=0.3) as mesh,
        grpc.aio.insecure_channel(mesh.gateway.address) as channel,
    ):
        if state == "with everything behind gone":
            for server in mesh.servers.values():
                await server.drain(grace_s=0)
            mesh.servers.clear()
        codes = {}
        requests = _requests()
        for method in METHODS:
            name = method.name
            answer = await any_call(channel, f"/isthmus.v1.GatewayService/{name}", requests.get(name, b""), timeout_s=5)
            codes[name] = answer.code
            assert _leaks(answer) == [], (name, answer)
    if state == "with everything behind gone":
        assert codes["SearchItems"] == codes["GetItems"] == codes["GetAligner"] == "UNAVAILABLE"
