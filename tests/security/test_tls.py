"""TLS: who is refused at the handshake, and what happens when a certificate is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509

from isthmus.client import AsyncClient, Client, Tls, UnavailableError
from isthmus.runtime.base import metrics
from isthmus.runtime.base.reload import UnusableFileError
from isthmus.runtime.base.transport import Tls as Files
from isthmus.runtime.base.transport import Transport
from isthmus.runtime.rpc.channel import open_channel
from isthmus.runtime.rpc.server import RpcServer
from isthmus.runtime.rpc.tls import ServerTls
from isthmus.runtime.rpc.tls_channel import ChannelTls
from isthmus.v1 import encoder_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.security.edge import KEYS, Pki, until, write_keys
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh
from tests.unit.runtime.scripted import Scripted

ENCODE = encoder_service_pb2.EncodeRequest()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """A CA."""
    return Pki(tmp_path / "pki")


@contextlib.asynccontextmanager
async def _gateway(pki: Pki, tmp_path: Path, **settings: Any) -> AsyncIterator[GatewayMesh]:
    keys_file = write_keys(tmp_path / "keys")
    async with gateway_mesh(keys_file=keys_file, credentials=pki.credentials(), **settings) as mesh:
        yield mesh


async def _refusal(address: str, tls: Tls | None) -> str:
    async with AsyncClient(address, tls=tls, api_key=KEYS["reader"]) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.status()
    return str(caught.value)


async def test_a_caller_that_believes_the_ca_is_served(pki: Pki, tmp_path: Path) -> None:
    """By name or by address, sync or async: with the CA and a key the gateway answers."""
    async with _gateway(pki, tmp_path, **pki.settings()) as mesh:
        port = mesh.gateway.address.rpartition(":")[2]
        for address in (mesh.gateway.address, f"localhost:{port}"):
            async with AsyncClient(address, tls=Tls(ca_file=pki.ca_file), api_key=KEYS["reader"]) as client:
                assert (await client.status()).encoders

        def ask() -> int:
            with Client(mesh.gateway.address, tls=Tls(ca_file=pki.ca_file), api_key=KEYS["reader"]) as client:
                return len(client.status().encoders)

        assert await asyncio.to_thread(ask) == 2


async def test_a_gateway_of_another_ca_is_not_believed(pki: Pki, tmp_path: Path) -> None:
    """The client refuses the handshake and says why; so it does with the public CAs alone."""
    other = Pki(tmp_path / "other")
    async with _gateway(pki, tmp_path, **pki.settings()) as mesh:
        for tls in (Tls(ca_file=other.ca_file), Tls()):
            assert "certificate" in (await _refusal(mesh.gateway.address, tls)).lower()


async def test_an_expired_certificate_is_not_believed(pki: Pki, tmp_path: Path) -> None:
    """It ended yesterday."""
    now = dt.datetime.now(dt.UTC)
    expired = pki.settings(not_before=now - dt.timedelta(days=9), not_after=now - dt.timedelta(days=1))
    async with _gateway(pki, tmp_path, **expired) as mesh:
        assert "certificate" in (await _refusal(mesh.gateway.address, Tls(ca_file=pki.ca_file))).lower()


async def test_a_certificate_of_another_name_is_not_believed(pki: Pki, tmp_path: Path) -> None:
    """`mesh.example` is not the address that was asked; naming it says that it is meant."""
    cert_file, key_file = pki.issue("named", "mesh.example")
    async with _gateway(pki, tmp_path, tls_cert_file=cert_file, tls_key_file=key_file) as mesh:
        assert "certificate" in (await _refusal(mesh.gateway.address, Tls(ca_file=pki.ca_file))).lower()
        tls = Tls(ca_file=pki.ca_file, server_name="mesh.example")
        async with AsyncClient(mesh.gateway.address, tls=tls, api_key=KEYS["reader"]) as client:
            assert (await client.status()).encoders


async def test_in_the_clear_nothing_is_served(pki: Pki, tmp_path: Path) -> None:
    """A caller without TLS gets no answer from a gateway with it."""
    async with _gateway(pki, tmp_path, **pki.settings()) as mesh:
        await _refusal(mesh.gateway.address, None)


async def test_mutual_tls_refuses_whoever_shows_no_certificate_of_its_ca(pki: Pki, tmp_path: Path) -> None:
    """No certificate, one of another CA, an expired one: refused. One of its CA: served."""
    other = Pki(tmp_path / "other")
    stranger_cert, stranger_key = other.issue("stranger", "client")
    now = dt.datetime.now(dt.UTC)
    old_cert, old_key = pki.issue("old", "client", not_after=now - dt.timedelta(days=1))
    cert_file, key_file = pki.issue("friend", "client")
    server = RpcServer(
        Scripted().hosted(),
        "127.0.0.1:0",
        Transport(tls=_files(pki.issue("server"), ca_file=pki.ca_file)),
    )
    await server.start()
    try:
        for identity in (None, (stranger_cert, stranger_key), (old_cert, old_key)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _encode(server.address, _files(identity, ca_file=pki.ca_file))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await _encode(server.address, _files((cert_file, key_file), ca_file=pki.ca_file))
    finally:
        await server.drain(grace_s=0)


def _files(identity: tuple[Path, Path] | None, *, ca_file: Path) -> Files:
    if identity is None:
        return Files(ca_file=ca_file)
    return Files(cert_file=identity[0], key_file=identity[1], ca_file=ca_file)


async def _encode(address: str, files: Files) -> None:
    async with open_channel(address, tls=ChannelTls(files)) as channel:
        await EncoderServiceStub(channel).Encode(ENCODE, timeout=5)


def _handshake(address: str, version: ssl.TLSVersion, ca_file: Path) -> tuple[str, int]:
    """Shake hands at exactly `version`; return the version and the serial number of the certificate shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # lets OpenSSL offer TLS 1.1 at all
    old = version < ssl.TLSVersion.TLSv1_2
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if old else contextlib.nullcontext():
        context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return secured.version() or "", x509.load_der_x509_certificate(shown).serial_number


@contextlib.contextmanager
def _old_server(pki: Pki) -> Iterator[str]:
    """A server that speaks nothing newer than TLS 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("old-server"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


async def test_tls_1_1_is_refused(pki: Pki, tmp_path: Path) -> None:
    """1.2 and 1.3 are spoken, 1.1 is not, to a caller that could: it does speak it with a server that wants it."""
    with _old_server(pki) as address:
        assert (await asyncio.to_thread(_handshake, address, ssl.TLSVersion.TLSv1_1, pki.ca_file))[0] == "TLSv1.1"
    async with _gateway(pki, tmp_path, **pki.settings()) as mesh:
        address = mesh.gateway.address
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            assert (await asyncio.to_thread(_handshake, address, version, pki.ca_file))[0] == name
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(_handshake, address, ssl.TLSVersion.TLSv1_1, pki.ca_file)


class MountedPair:
    """A certificate and its key as Kubernetes mounts a secret: links through `..data`, which is swapped at once."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self._pki = pki
        self._folder = folder
        self._count = 0
        folder.mkdir()
        self.serial = self.replace()
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    @property
    def settings(self) -> dict[str, Path]:
        """The settings of a server."""
        return {"tls_cert_file": self._folder / "tls.crt", "tls_key_file": self._folder / "tls.key"}

    def replace(self) -> int:
        """Swap in a new pair; return its serial number."""
        made = self._pki.ca.issue_cert("localhost", "127.0.0.1")
        cert = made.cert_chain_pems[0].bytes()
        self.swap(cert, made.private_key_pem.bytes())
        return x509.load_pem_x509_certificate(cert).serial_number

    def swap(self, cert: bytes, key: bytes) -> None:
        """Swap in any two contents."""
        self._count += 1
        version = self._folder / f"..version-{self._count}"
        version.mkdir()
        (version / "tls.crt").write_bytes(cert)
        (version / "tls.key").write_bytes(key)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._folder / "..data")


async def test_a_replaced_certificate_is_used_within_five_seconds_and_no_call_is_lost(pki: Pki, tmp_path: Path) -> None:
    """Under load, over connections old and new, three times in a row: new handshakes see the new one, 0 calls fail."""
    mounted = MountedPair(pki, tmp_path / "secret")
    async with _gateway(pki, tmp_path, **mounted.settings) as mesh:
        address, tls = mesh.gateway.address, Tls(ca_file=pki.ca_file)
        ended, calls = asyncio.Event(), 0

        async def one_connection() -> None:
            nonlocal calls
            async with AsyncClient(address, tls=tls, api_key=KEYS["reader"]) as client:
                while not ended.is_set():
                    await client.embed(texts=["steady"])
                    calls += 1

        async def many_connections() -> None:
            nonlocal calls
            while not ended.is_set():
                async with AsyncClient(address, tls=tls, api_key=KEYS["reader"]) as client:
                    await client.embed(texts=["anew"])
                    calls += 1

        async def serial() -> int:
            return (await asyncio.to_thread(_handshake, address, ssl.TLSVersion.TLSv1_3, pki.ca_file))[1]

        waits = []
        async with asyncio.TaskGroup() as load:
            for _ in range(2):
                load.create_task(one_connection())
                load.create_task(many_connections())
            assert await serial() == mounted.serial
            for _ in range(3):
                replaced, started_s = mounted.replace(), time.monotonic()
                while await serial() != replaced:
                    assert time.monotonic() - started_s < 5
                    await asyncio.sleep(0.05)
                waits.append(time.monotonic() - started_s)
            ended.set()
    # Any failed call would have raised out of the task group.
    assert calls > 100
    assert max(waits) < 5  # measured: 1.04, over 1,040 calls


async def test_a_broken_pair_leaves_the_old_one_in_use_and_is_said(
    pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file, a key of another certificate, an encrypted key, nothing: the old one serves, log and metric tell."""
    mounted = MountedPair(pki, tmp_path / "secret")
    made, other = (pki.ca.issue_cert("localhost", "127.0.0.1") for _ in range(2))
    cert, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
    current = metrics.FILE_CURRENT.labels("tls")
    async with _gateway(pki, tmp_path, **mounted.settings) as mesh:

        async def serial() -> int:
            version = ssl.TLSVersion.TLSv1_3
            return (await asyncio.to_thread(_handshake, mesh.gateway.address, version, pki.ca_file))[1]

        for broken in ((cert[: len(cert) // 2], key), (cert, other.private_key_pem.bytes()), (cert, b""), (b"", b"")):
            before = metrics.FILE_RELOADS.labels("tls", "refused")._value.get()
            mounted.swap(*broken)
            await until(lambda: metrics.FILE_RELOADS.labels("tls", "refused")._value.get() == before + 1)  # noqa: B023
            assert current._value.get() == 0
            assert await serial() == mounted.serial
        complaints = [record for record in caplog.records if record.name == "isthmus.reload"]
        assert [record.levelno for record in complaints] == [logging.ERROR] * 4
        mounted.swap(cert, key)
        await until(lambda: current._value.get() == 1)
        assert await serial() == x509.load_pem_x509_certificate(cert).serial_number


@pytest.mark.parametrize("what", ["mismatch", "half", "no key", "no file", "ca"])
def test_a_broken_pair_stops_the_start(pki: Pki, tmp_path: Path, what: str) -> None:
    """The error names the setting that is wrong."""
    cert_file, key_file = pki.issue("server")
    files = Files(cert_file=cert_file, key_file=key_file)
    said = "tls_key_file is not the key of tls_cert_file"
    if what == "mismatch":
        key_file.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    elif what == "half":
        cert_file.write_bytes(cert_file.read_bytes()[:200])
        said = "tls_cert_file holds no PEM certificate"
    elif what == "no key":
        key_file.write_bytes(b"")
        said = "tls_key_file holds no PEM private key"
    elif what == "no file":
        Path(key_file).unlink()
        said = "tls_key_file cannot be read: No such file"
    else:
        files = Files(cert_file=cert_file, key_file=key_file, ca_file=key_file)
        said = "tls_client_ca_file holds no PEM certificate"
    with pytest.raises(UnusableFileError, match=said):
        ServerTls(files)


async def test_a_callers_certificate_is_replaced_without_losing_a_call(pki: Pki, tmp_path: Path) -> None:
    """Between services: the new certificate is shown within seconds; a call on its way over the old one ends well."""
    cert_file, key_file = pki.issue("caller", "caller-1")
    service, entered, release = Scripted(), asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def slow() -> None:
        entered.set()
        await release.wait()

    server = RpcServer(service.hosted(), "127.0.0.1:0", Transport(tls=_files(pki.issue("server"), ca_file=pki.ca_file)))
    await server.start()
    tls = ChannelTls(_files((cert_file, key_file), ca_file=pki.ca_file))
    try:
        async with open_channel(server.address, tls=tls) as channel:
            encode = EncoderServiceStub(channel).Encode
            service.unary = slow
            call = asyncio.ensure_future(encode(ENCODE, timeout=20))
            await asyncio.wait_for(entered.wait(), 5)

            async def look() -> None:
                seen.append(b"")

            service.unary = look
            old = channel.current()  # type: ignore[attr-defined]
            pki.issue("caller", "caller-2")
            started_s = time.monotonic()
            while channel.current() is old:  # type: ignore[attr-defined]
                assert time.monotonic() - started_s < 5
                await encode(ENCODE, timeout=5)
                await asyncio.sleep(0.05)
            await encode(ENCODE, timeout=5)
            release.set()
            await call
        assert time.monotonic() - started_s < 5  # measured: 1.0
        assert len(seen) > 2
    finally:
        await server.drain(grace_s=0)
