"""Let long numerics be given up: whoever runs them binds a check, and their loops come by it.

A check is bound to a thread, for the length of a piece of work, and not handed from function to function: the loops
that may run long lie several calls below whoever knows that nobody waits any more, and what lies between has no use for
it. Where none is bound, coming by costs a look at a variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["checked", "checkpoint"]


def _never() -> None:
    """Let everything go on."""


_CHECK: Final[ContextVar[Callable[[], None]]] = ContextVar("isthmus_check", default=_never)


@contextmanager
def checked(check: Callable[[], None]) -> Iterator[None]:
    """Bind a check to whatever this thread computes inside.

    Args:
        check: Does nothing while the work is wanted; what it raises ends the work, and must be no CoreError.
    """
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def checkpoint() -> None:
    """Come by the check that is bound; wherever numerics run long, at least every half a second."""
    _CHECK.get()()
