"""What a client can be told: where the mesh is, how long to wait, how much to send at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

__all__ = ["DEFAULT_ADDRESS", "ClientConfig", "Limits", "Resume", "Timeouts", "resolve_address"]

DEFAULT_ADDRESS: Final = "127.0.0.1:7480"
"""Where `isthmus up` listens when it is told nothing."""
_ADDRESS_VARIABLE: Final = "ISTHMUS_ADDRESS"
_MIB: Final = 1024 * 1024


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


def resolve_address(address: str | None) -> str:
    """Return where to connect: `address`, else the variable ISTHMUS_ADDRESS, else the default.

    Raises:
        ValueError: it is neither `HOST:PORT` nor `unix:PATH`.
    """
    chosen = address or os.environ.get(_ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    if chosen.startswith("unix:") and len(chosen) > len("unix:"):
        return chosen
    host, _, port = chosen.rpartition(":")
    if not host or "/" in chosen or not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65_535:  # noqa: PLR2004
        msg = "address must have the form HOST:PORT or unix:PATH, for example 127.0.0.1:7480"
        raise ValueError(msg)
    return chosen
