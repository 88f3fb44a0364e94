"""Who may call what: every method that a gateway serves, by everybody there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from isthmus.gateway.access import ACCESS
from isthmus.gateway.keys import Role
from isthmus.v1 import gateway_service_pb2
from tests.security.edge import KEYS, Answer, Pki, any_call, write_keys
from tests.unit.gateway.mesh import gateway_mesh

_SERVICES: Final = (
    gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)
_CALLERS: Final = {"nobody": None, "stranger": "isthmus_a-key-that-nobody-made", **KEYS}
_ROLES: Final = {"reader": Role.READER, "writer": Role.WRITER, "admin": Role.ADMIN, "rival": Role.ADMIN}


def _methods() -> set[str]:
    return {f"/{service.full_name}/{method.name}" for service in _SERVICES for method in service.methods}


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    """A new RPC without a row fails here, and so does a row whose RPC is gone."""
    assert set(ACCESS) == _methods()


def _expected(method: str, caller: str) -> tuple[str, str]:
    """Return the code and the reason that the table means; for whoever is let in, nothing."""
    least = ACCESS[method]
    if least is None:
        return "", ""
    if caller == "nobody":
        return "UNAUTHENTICATED", "KEY_REQUIRED"
    if caller == "stranger":
        return "UNAUTHENTICATED", "KEY_UNKNOWN"
    return ("", "") if _ROLES[caller] >= least else ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


def _door(answer: Answer) -> tuple[str, str]:
    """Return what the door said; nothing when it let the call in, whatever became of it then."""
    refused = answer.code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
    return (answer.code, answer.reason) if refused else ("", "")


async def test_everybody_may_do_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    """All methods x {no key, a wrong one, reader, writer, admin, another tenant's admin}, over TLS: as in the table."""
    pki = Pki(tmp_path / "pki")
    keys_file = write_keys(tmp_path / "keys")
    async with (
        gateway_mesh(data_dir=tmp_path, keys_file=keys_file, credentials=pki.credentials(), **pki.settings()) as mesh,
        grpc.aio.secure_channel(mesh.gateway.address, pki.credentials()) as channel,
    ):
        seen, answers = {}, {}
        for method in sorted(_methods()):
            # Watch never ends by itself.
            timeout_s = 0.5 if method.endswith("/Watch") else 20.0
            for caller, key in _CALLERS.items():
                answer = await any_call(channel, method, key=key, timeout_s=timeout_s)
                seen[method, caller] = _door(answer)
                answers[method, caller] = answer
    assert seen == {(method, caller): _expected(method, caller) for method in _methods() for caller in _CALLERS}
    # The door is not all there is: whoever is let in meets the handler.
    assert {answers[method, "admin"].code for method in _methods()} <= {
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "DEADLINE_EXCEEDED",  # Watch
        "UNIMPLEMENTED",  # List, which grpcio-health-checking leaves out
    }
    assert answers["/isthmus.v1.GatewayService/GetStatus", "reader"].code == "OK"
    assert answers["/grpc.health.v1.Health/Check", "nobody"].code == "OK"


async def test_what_is_not_in_the_api_is_nobodys(tmp_path: Path) -> None:
    """Neither a method that is not there nor a service from behind the gateway is served, with or without a key."""
    async with (
        gateway_mesh(keys_file=write_keys(tmp_path / "keys")) as mesh,
        grpc.aio.insecure_channel(mesh.gateway.address) as channel,
    ):
        for method in (
            "/isthmus.v1.GatewayService/DropEverything",
            "/isthmus.v1.IndexWriterService/DeleteCollection",
            "/isthmus.v1.EncoderService/Encode",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ):
            for key in _CALLERS.values():
                assert (await any_call(channel, method, key=key)).code == "UNIMPLEMENTED"


async def test_without_a_keys_file_everybody_on_this_machine_is_an_admin() -> None:
    """Loopback without keys: the default tenant, every method, and an authorization that is sent anyway is ignored."""
    async with gateway_mesh() as mesh, grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        for key in (None, "whatever-it-is"):
            answer = await any_call(channel, "/isthmus.v1.GatewayService/DeleteCollection", key=key)
            assert answer.code == "INVALID_ARGUMENT"


async def test_a_refused_call_is_not_read(tmp_path: Path) -> None:
    """A stranger's large message is refused before it has arrived: a stream that never ends is ended by the gateway."""
    async with (
        gateway_mesh(keys_file=write_keys(tmp_path / "keys")) as mesh,
        grpc.aio.insecure_channel(mesh.gateway.address) as channel,
    ):
        start: Any = channel.stream_stream("/isthmus.v1.GatewayService/Embed")
        call = start(timeout=5)
        # Nothing is written and the stream stays open: only the metadata can be what the refusal goes by.
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
