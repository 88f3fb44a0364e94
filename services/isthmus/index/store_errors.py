"""What a caller may see when the store does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from isthmus.index.disk_space import disk_full, is_disk_full
from isthmus.runtime.base.errors import UnavailableError

__all__ = ["store_errors", "unconfirmed", "unreachable"]


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn what Lance and Arrow raise when the store does not answer, or is full, into what a caller may see."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise (disk_full() if is_disk_full(error) else unconfirmed()) from error


def unconfirmed() -> UnavailableError:
    """Return BACKEND_UNAVAILABLE: nobody knows whether a write is there."""
    msg = "the store did not confirm the write; repeat it with the same request_id"
    return UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)


def unreachable() -> UnavailableError:
    """Return BACKEND_UNAVAILABLE: the store cannot be read."""
    return UnavailableError("the store cannot be reached", reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)
