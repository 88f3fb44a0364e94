"""The refusal that more than one service gives: nothing was fitted that one pair by itself could be judged by."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.errors import FailedPreconditionError

__all__ = ["CALIBRATE_COMMAND", "not_calibrated"]

CALIBRATE_COMMAND: Final = "isthmus align fit --collection COLLECTION --method identity"
"""What makes an aligner that changes no vector and has a calibration; promoting it puts it to use."""


def not_calibrated() -> FailedPreconditionError:
    """Return the error for a collection whose aligner has no curve for pairs; it names the command that mends it."""
    msg = (
        "the collection's aligner has no calibration fitted to pairs, so nothing says what a score means; fit one, for "
        f"example with: {CALIBRATE_COMMAND}, and promote it"
    )
    return FailedPreconditionError(msg, reason="NOT_CALIBRATED", metadata={"command": CALIBRATE_COMMAND})
