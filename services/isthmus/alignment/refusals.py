"""What the numerics refuse, in the words of the service: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from isthmus.core.errors import (
    ArtefactError,
    CoreError,
    DegreesError,
    InvalidVectorError,
    LeakError,
    NotEnoughItemsError,
    OptionError,
    ShapeError,
    SpacesMismatchError,
)
from isthmus.runtime.base.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
)

__all__ = ["not_found", "translated"]

_TABLE: Final[Mapping[type[CoreError], Callable[[str], IsthmusError]]] = {
    ArtefactError: lambda msg: InvalidArgumentError(msg, reason="ARTEFACT_DAMAGED"),
    DegreesError: lambda msg: FailedPreconditionError(msg, reason="INVALID_VECTOR"),
    InvalidVectorError: lambda msg: InvalidArgumentError(msg, reason="INVALID_VECTOR"),
    NotEnoughItemsError: lambda msg: FailedPreconditionError(msg, reason="NOT_ENOUGH_PAIRS"),
    LeakError: lambda msg: FailedPreconditionError(msg, reason="PAIRS_LEAK"),
    OptionError: lambda msg: InvalidArgumentError(msg, reason="INVALID_FIELD"),
    ShapeError: lambda msg: InvalidArgumentError(msg, reason="INVALID_VECTOR"),
    SpacesMismatchError: lambda msg: FailedPreconditionError(msg, reason="ALIGNER_SPACES_MISMATCH"),
}


@contextmanager
def translated(*, stored: bool = False) -> Iterator[None]:
    """Turn a CoreError raised inside into the domain error a caller sees.

    Args:
        stored: The artefact at hand is one of ours, so damage is data loss and not a bad argument.
    """
    try:
        yield
    except CoreError as error:
        if stored and isinstance(error, ArtefactError):
            raise DataLossError(str(error), reason="ARTEFACT_DAMAGED") from error
        raise _TABLE[type(error)](str(error)) from error


def not_found() -> NotFoundError:
    """Return the error for an aligner that is not there."""
    msg = "aligner: there is none of that name and revision"
    return NotFoundError(msg, reason="ALIGNER_NOT_FOUND", metadata={"field": "aligner"})
