"""A gateway behind TLS and keys, on a real socket, and callers of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import trustme
from google.rpc import error_details_pb2, status_pb2

__all__ = ["KEYS", "Answer", "Pki", "any_call", "key_line", "until", "write_keys"]

KEYS: Final = {
    "reader": "isthmus_reader-of-shop-0123456789",
    "writer": "isthmus_writer-of-shop-0123456789",
    "admin": "isthmus_admin-of-shop-0123456789",
    "rival": "isthmus_admin-of-rival-0123456789",
}
"""Keys by who holds them: three of the tenant `shop`, and an admin of the tenant `rival`."""


def key_line(key: str, *, tenant: str, role: str, **more: str) -> str:
    """Return the line of a key."""
    words = {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "role": role, **more}
    return " ".join(f"{word}={value}" for word, value in words.items())


def write_keys(path: Path) -> Path:
    """Write the keys' file."""
    lines = [key_line(KEYS[role], tenant="shop", role=role) for role in ("reader", "writer", "admin")]
    path.write_text("\n".join([*lines, key_line(KEYS["rival"], tenant="rival", role="admin"), ""]))
    return path


async def until(condition: Callable[[], object], *, timeout_s: float = 5.0) -> float:
    """Wait until `condition` holds; return the seconds it took."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s
        await asyncio.sleep(0.02)
    return time.monotonic() - started_s


class Pki:
    """A CA and the files of those it knows.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.ca.cert_pem.bytes())

    def issue(self, name: str, *identities: str, **how: Any) -> tuple[Path, Path]:
        """Write a certificate and its key as `NAME.pem` and `NAME.key`, over those that are there; return the paths."""
        made = self.ca.issue_cert(*(identities or ("localhost", "127.0.0.1")), **how)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert_file.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        key_file.write_bytes(made.private_key_pem.bytes())
        return cert_file, key_file

    def settings(self, name: str = "gateway", **how: Any) -> dict[str, Any]:
        """Return the settings of a server with a certificate of its own."""
        cert_file, key_file = self.issue(name, **how)
        return {"tls_cert_file": cert_file, "tls_key_file": key_file}

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a caller that believes the CA."""
        return grpc.ssl_channel_credentials(self.ca.cert_pem.bytes())


@dataclass(frozen=True)
class Answer:
    """How a call ended.

    Attributes:
        code: Canonical code.
        reason: Of ErrorInfo; empty when there is none.
        message: For a person.
        metadata: Of ErrorInfo.
        messages: What came back.
        trailers: All of them, as one text.
    """

    code: str
    reason: str = ""
    message: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    messages: tuple[bytes, ...] = ()
    trailers: bytes = b""

    @property
    def shown(self) -> tuple[object, ...]:
        """What a caller can tell two refusals apart by."""
        return (self.code, self.reason, self.message, self.metadata)


async def any_call(
    channel: grpc.aio.Channel, method: str, request: bytes = b"", *, key: str | None = None, timeout_s: float = 20.0
) -> Answer:
    """Call a method by its full name with one message; streams and single messages look alike on the wire."""
    start: Any = channel.stream_stream(method)
    call: Any = start(
        iter([request]),
        timeout=timeout_s,
        metadata=() if key is None else (("authorization", f"Bearer {key}"),),
    )
    messages: list[bytes] = []
    try:
        messages.extend([message async for message in call])
    except grpc.aio.AioRpcError as error:
        status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
        trailers = b""
        for name, value in error.trailing_metadata() or ():
            packed = value if isinstance(value, bytes) else value.encode()
            trailers += name.encode() + b"=" + packed + b"\n"
            if name == "grpc-status-details-bin":
                status.ParseFromString(packed)
        for detail in status.details:
            detail.Unpack(info)
        return Answer(
            error.code().name,
            info.reason,
            error.details() or "",
            tuple(sorted(info.metadata.items())),
            tuple(messages),
            trailers,
        )
    return Answer("OK", messages=tuple(messages))
