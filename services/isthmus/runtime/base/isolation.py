"""Find out which items of a batch make it fail, so that only they do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from isthmus.runtime.base.errors import InternalError, IsthmusError
from isthmus.runtime.base.logging import fields

__all__ = ["AfterPass", "item_error_of", "run_isolated"]

log = logging.getLogger("isthmus.batching")

PreparedT = TypeVar("PreparedT")
ResultT = TypeVar("ResultT")


class AfterPass(Protocol):
    """Whoever counts the passes."""

    def __call__(self, *, count: int, seconds: float) -> None:
        """Take note of a pass over `count` items."""


def run_isolated(
    forward: Callable[[Sequence[PreparedT]], Sequence[ResultT]],
    batch: Sequence[PreparedT],
    *,
    after_pass: AfterPass,
) -> list[ResultT | IsthmusError]:
    """Run a batch; when it fails, split it in halves until only the guilty items fail.

    A guilty item among n costs about 2 log2(n) further passes.

    Args:
        forward: Maps a batch to as many results, in order.
        batch: At least one item.
        after_pass: Told of every pass, whether it failed or not.

    Returns:
        A result or an error for each item, in order.
    """
    started = time.monotonic()
    try:
        results = forward(batch)
        _check_count(len(results), len(batch))
    except Exception as error:  # noqa: BLE001 - whatever a model raises, only the guilty item may see it
        after_pass(count=len(batch), seconds=time.monotonic() - started)
        if len(batch) == 1:
            return [item_error_of(error)]
        half = len(batch) // 2
        first, second = batch[:half], batch[half:]
        return [
            *run_isolated(forward, first, after_pass=after_pass),
            *run_isolated(forward, second, after_pass=after_pass),
        ]
    after_pass(count=len(batch), seconds=time.monotonic() - started)
    return [*results]


def item_error_of(error: Exception) -> IsthmusError:
    """Return a refusal as it is; of anything else, only that it happened."""
    if isinstance(error, IsthmusError) and not isinstance(error, InternalError):
        return error
    log.error("item failed", exc_info=error, extra=fields(kind=type(error).__name__))
    msg = "the encoder failed on this item"
    return IsthmusError(msg, reason="ENCODE_FAILED")


def _check_count(results: int, items: int) -> None:
    if results != items:
        msg = f"forward returned {results} results for {items} items; this is a bug"
        raise InternalError(msg)
