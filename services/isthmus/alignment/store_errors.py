"""What an object store that does not answer means to a caller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from isthmus.runtime.base.errors import UnavailableError

__all__ = ["store_errors"]


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn what Arrow raises into what a caller may see.

    Raises:
        UnavailableError: BACKEND_UNAVAILABLE.
    """
    try:
        yield
    except OSError as error:
        msg = "the store of aligners did not answer"
        raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0) from error
