"""What a client can be told: where the mesh is, how to reach it, how long to wait, how much to send at once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = [
    "DEFAULT_ADDRESS",
    "ClientConfig",
    "Limits",
    "Resume",
    "Timeouts",
    "Tls",
    "resolve_access",
    "resolve_address",
]

DEFAULT_ADDRESS: Final = "127.0.0.1:7480"
"""Where `isthmus up` listens when it is told nothing."""
_ADDRESS_VARIABLE: Final = "ISTHMUS_ADDRESS"
_KEY_VARIABLE: Final = "ISTHMUS_API_KEY"
_TLS_VARIABLE: Final = "ISTHMUS_TLS"
_TLS_VARIABLES: Final = {
    "ca_file": "ISTHMUS_CA_FILE",
    "cert_file": "ISTHMUS_CERT_FILE",
    "key_file": "ISTHMUS_KEY_FILE",
    "server_name": "ISTHMUS_SERVER_NAME",
}
_SWITCHES: Final = {"": False, "0": False, "false": False, "1": True, "true": True}
_HOST_AND_PORT: Final = re.compile(r"(?P<host>[^/\s]+):(?P<port>[0-9]{1,5})")
_DNS: Final = re.compile(r"dns://[^/\s]*/")
_API_KEY: Final = re.compile(r"[\x21-\x7e]{8,512}")
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the client knows the mesh, and the mesh the client. Files are PEM and read when the client is made.

    Tls()                                              # a certificate of a public CA
    Tls(ca_file="ca.pem")                              # one of your own CA
    Tls(ca_file="ca.pem", server_name="mesh.example")  # reached under another name than the certificate's
    Tls(ca_file="ca.pem", cert_file="me.pem", key_file="me.key")  # mTLS
    """

    ca_file: str | os.PathLike[str] | None = None
    """CAs that sign the mesh's certificate; None means those that gRPC ships."""
    cert_file: str | os.PathLike[str] | None = None
    """The client's own certificate chain, for a mesh that asks for one."""
    key_file: str | os.PathLike[str] | None = None
    """Its private key, not encrypted."""
    server_name: str | None = None
    """Name that the mesh's certificate must carry; None means the address's."""

    def __post_init__(self) -> None:
        """Check that a certificate comes with its key.

        Raises:
            ValueError: one is given without the other.
        """
        if (self.cert_file is None) != (self.key_file is None):
            msg = "cert_file and key_file go together"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Deadlines in seconds.

        Timeouts()                    # the defaults
        Timeouts(call_s=0.5)          # searches, gets and everything else that is short
        Timeouts(embed_s=20.0)        # one message of inputs to embed, at most 256 of them
        Timeouts(stream_s=86_400.0)   # a whole upsert or fit

    A method's `timeout_s` wins over all of them for one call.
    """

    call_s: float = 10.0
    """Search, get, delete, collections, aligners, status."""
    embed_s: float = 30.0
    """One message of an embed."""
    evaluate_s: float = 600.0
    """One evaluation."""
    stream_s: float = 3600.0
    """One stream of an upsert, and a fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much travels in one message, and how many messages may be on their way."""

    message_max_bytes: int = 32 * _MIB
    """Largest message sent or accepted; the gateway's own limit is the same."""
    chunk_max_bytes: int = 8 * _MIB
    """Inputs or items are cut into messages of at most this many bytes; a single larger one travels alone."""
    chunk_max_count: int = 256
    """Inputs or items in one message. The gateway embeds at most 256 and stores at most 1,000 a message."""
    window_max_count: int = 4
    """Upsert messages on their way without an acknowledgement: bounds the memory of a resumable upsert."""

    def __post_init__(self) -> None:
        """Check that a message can hold a chunk.

        Raises:
            ValueError: a limit is below 1, or a chunk is larger than a message.
        """
        for name in ("message_max_bytes", "chunk_max_bytes", "chunk_max_count", "window_max_count"):
            if getattr(self, name) < 1:
                msg = f"{name} is {getattr(self, name)}; the least is 1"
                raise ValueError(msg)
        if self.chunk_max_bytes > self.message_max_bytes:
            msg = f"chunk_max_bytes is {self.chunk_max_bytes}; the most is message_max_bytes, {self.message_max_bytes}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """How an upsert goes on after the mesh went away: un-acknowledged messages are sent again under the same id."""

    max_attempts: int = 8
    """Attempts in a row without a single acknowledgement before the upsert fails."""
    initial_backoff_s: float = 0.1
    """Pause before the second attempt; doubles with each further one. A pause the mesh asks for is kept if longer."""
    max_backoff_s: float = 2.0
    """Longest pause."""

    def backoff_s(self, failures: int) -> float:
        """Return the pause after `failures` failed attempts in a row, counted from 1."""
        return float(min(self.max_backoff_s, self.initial_backoff_s * 2.0 ** (failures - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Everything a client can be told."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    """Deadlines."""
    limits: Limits = field(default_factory=Limits)
    """Sizes of messages."""
    resume: Resume = field(default_factory=Resume)
    """Patience of an upsert."""
    tls: Tls | None = None
    """TLS; None means the variables ISTHMUS_CA_FILE, ISTHMUS_CERT_FILE, ISTHMUS_KEY_FILE and ISTHMUS_SERVER_NAME, or
    ISTHMUS_TLS=1 for a certificate of a public CA; without any of them calls travel in the clear."""
    api_key: str | None = field(default=None, repr=False)
    """Who calls; None means the variable ISTHMUS_API_KEY, else nobody in particular."""


def resolve_access(config: ClientConfig, *, tls: Tls | None, api_key: str | None) -> ClientConfig:
    """Return `config` with TLS and key settled: what is given here, else its own, else the environment's.

    Raises:
        ValueError: the key holds characters that no key has, or a variable has no sense.
    """
    tls = tls or config.tls or _tls_of_environment()
    api_key = api_key or config.api_key or os.environ.get(_KEY_VARIABLE) or None
    if api_key is not None and _API_KEY.fullmatch(api_key) is None:
        msg = f"the API key has {len(api_key)} characters, or holds white space or other characters that no key has"
        raise ValueError(msg)
    return replace(config, tls=tls, api_key=api_key)


def _tls_of_environment() -> Tls | None:
    given = {name: value for name, variable in _TLS_VARIABLES.items() if (value := os.environ.get(variable))}
    switch = os.environ.get(_TLS_VARIABLE, "").lower()
    if switch not in _SWITCHES:
        msg = f"{_TLS_VARIABLE} must be 1 or 0"
        raise ValueError(msg)
    return Tls(**given) if given or _SWITCHES[switch] else None


def resolve_address(address: str | None) -> str:
    """Return where to connect: `address`, else the variable ISTHMUS_ADDRESS, else the default.

    Raises:
        ValueError: it is neither `HOST:PORT`, `unix:PATH` nor `dns://SERVER/HOST:PORT`.
    """
    chosen = address or os.environ.get(_ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    if chosen.startswith("unix:") and len(chosen) > len("unix:"):
        return chosen
    parts = _HOST_AND_PORT.fullmatch(_DNS.sub("", chosen, count=1))
    if parts is None or not 1 <= int(parts["port"]) <= 65_535:  # noqa: PLR2004
        msg = "address must have the form HOST:PORT, dns:///HOST:PORT or unix:PATH, for example 127.0.0.1:7480"
        raise ValueError(msg)
    return chosen
