"""What is known of the call being served: who asks, under which id, until when."""

from __future__ import annotations

import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from isthmus.runtime.base.errors import DeadlineExceededError
from isthmus.runtime.base.limits import DEADLINE_FLOOR_S, DEADLINE_HOP_S

__all__ = [
    "DEFAULT_CALLER",
    "DEFAULT_ROLE",
    "DEFAULT_TENANT",
    "CallContext",
    "Caller",
    "accept_request_id",
    "accept_traceparent",
    "current",
    "enter",
    "new_request_id",
    "serving",
]

DEFAULT_TENANT: Final = "default"
DEFAULT_ROLE: Final = "admin"
_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9_.:-]{1,64}$")
_TRACEPARENT: Final = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        tenant: Whose data it may see.
        role: What it may do: reader, writer or admin. The gateway has checked it; services behind do not ask again.
    """

    tenant: str = DEFAULT_TENANT
    role: str = DEFAULT_ROLE


DEFAULT_CALLER: Final = Caller()
"""Whoever calls a gateway that asks for no keys."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call.

    Attributes:
        request_id: Names the call in every log line of every service it touches.
        caller: Who asks.
        deadline_s: When the caller gives up, on the clock of `time.monotonic`; None when it waits for ever.
        traceparent: The caller's place in a trace (W3C), passed on to whoever is asked; None when there is none.
    """

    request_id: str
    caller: Caller = DEFAULT_CALLER
    deadline_s: float | None = None
    traceparent: str | None = None

    @property
    def tenant(self) -> str:
        """Whose data the call may see."""
        return self.caller.tenant

    def remaining_s(self) -> float | None:
        """Return the seconds left, or None without a deadline."""
        return None if self.deadline_s is None else self.deadline_s - time.monotonic()

    def hop_timeout_s(self) -> float | None:
        """Return the time a call made on behalf of this one may take.

        Raises:
            DeadlineExceededError: too little is left to ask anybody anything.
        """
        remaining = self.remaining_s()
        if remaining is None:
            return None
        if remaining < DEADLINE_FLOOR_S + DEADLINE_HOP_S:
            msg = "the deadline leaves no time for another hop"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
        return remaining - DEADLINE_HOP_S


_CURRENT: ContextVar[CallContext | None] = ContextVar("isthmus_call", default=None)


def new_request_id() -> str:
    """Return a fresh id of 16 hexadecimal characters."""
    return secrets.token_hex(8)


def accept_request_id(offered: str | None) -> str:
    """Return the caller's id when it is harmless to log, else a fresh one."""
    return offered if offered is not None and _REQUEST_ID.match(offered) else new_request_id()


def accept_traceparent(offered: str | None) -> str | None:
    """Return the caller's place in a trace when it is well-formed, else None."""
    return offered if offered is not None and _TRACEPARENT.match(offered) else None


def current() -> CallContext:
    """Return the call being served; outside of one, a fresh context without deadline."""
    return _CURRENT.get() or CallContext(request_id=new_request_id())


def serving() -> CallContext | None:
    """Return the call being served, or None outside of one."""
    return _CURRENT.get()


def enter(context: CallContext) -> None:
    """Make `context` the current call of this task and of the tasks it starts."""
    _CURRENT.set(context)
