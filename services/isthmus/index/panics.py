"""Lance's panics as errors that can be caught: a damaged file must not end the thread that reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["panics_as_errors"]

_PANIC = "PanicException"


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise what panics in Lance's Rust as an OSError.

    The binding raises a panic as a class of its own, which cannot be imported and is no `Exception`: `except Exception`
    lets it through.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        msg = "a file of the store is not what its reader expects"
        raise OSError(msg) from error
