"""What is known of the call being served: who asks, under which id, until when."""

from __future__ import annotations

import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

from isthmus.runtime.base.errors import DeadlineExceededError
from isthmus.runtime.base.limits import DEADLINE_FLOOR_S, DEADLINE_HOP_S

__all__ = ["DEFAULT_TENANT", "CallContext", "accept_request_id", "current", "enter", "new_request_id", "serving"]

DEFAULT_TENANT = "default"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_.:-]{1,64}$")


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call.

    Attributes:
        request_id: Names the call in every log line of every service it touches.
        tenant: Whose data it may see.
        deadline_s: When the caller gives up, on the clock of `time.monotonic`; None when it waits for ever.
    """

    request_id: str
    tenant: str = DEFAULT_TENANT
    deadline_s: float | None = None

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


def current() -> CallContext:
    """Return the call being served; outside of one, a fresh context without deadline."""
    return _CURRENT.get() or CallContext(request_id=new_request_id())


def serving() -> CallContext | None:
    """Return the call being served, or None outside of one."""
    return _CURRENT.get()


def enter(context: CallContext) -> None:
    """Make `context` the current call of this task and of the tasks it starts."""
    _CURRENT.set(context)
