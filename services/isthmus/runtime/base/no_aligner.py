"""The refusal that more than one service gives: two raw spaces, and nothing that joins them."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.errors import FailedPreconditionError

__all__ = ["PROMOTE_COMMAND", "no_aligner"]

PROMOTE_COMMAND: Final = "isthmus align promote ALIGNER --collection COLLECTION --allow-unverified"
"""What gives a collection an active aligner."""


def no_aligner() -> FailedPreconditionError:
    """Return the error for a collection whose modalities nothing joins; it names the command that mends it."""
    msg = f"the collection has two raw spaces and no active aligner; make one active with: {PROMOTE_COMMAND}"
    return FailedPreconditionError(msg, reason="NO_ALIGNER", metadata={"command": PROMOTE_COMMAND})
