"""Domain errors: every refusal a caller can see, with its canonical code and its reason.

    IsthmusError
    ├── InvalidArgumentError     the request itself is wrong; retrying it cannot help
    ├── NotFoundError            a collection, item or aligner that is not there
    ├── AlreadyExistsError       a name that is taken
    ├── FailedPreconditionError  right request, wrong state (spaces differ, no aligner)
    ├── ResourceExhaustedError   over a limit, or shed
    ├── DeadlineExceededError    the caller's time ran out
    ├── UnauthenticatedError     no API key, or one that is not known
    ├── PermissionDeniedError    the API key's role does not allow this
    ├── UnavailableError         not warm, draining, or a backend is gone; retry later
    ├── DataLossError            stored bytes do not match their digest
    └── InternalError            a bug: the message never leaves the process

An engine raises one of these; `runtime.rpc.status` holds the one table that turns them into a gRPC status.
Messages name the field, the limit and the size, never a value, a path or a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "AlreadyExistsError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "IsthmusError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
]


class IsthmusError(Exception):
    """A refusal with a canonical code and a reason from `isthmus.v1.ErrorReason`.

    Args:
        message: What is wrong, for a person. Safe to show to any caller.
        reason: Name of an `ErrorReason` without its `ERROR_REASON_` prefix, for example `EMPTY_TEXT`.
        metadata: Every variable part of the message, for machines.
        retry_after_s: When set, the caller may try again after this many seconds.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s


class InvalidArgumentError(IsthmusError):
    """The request itself is wrong."""

    code = "INVALID_ARGUMENT"


class NotFoundError(IsthmusError):
    """What the request names does not exist."""

    code = "NOT_FOUND"


class AlreadyExistsError(IsthmusError):
    """What the request would create is there already."""

    code = "ALREADY_EXISTS"


class FailedPreconditionError(IsthmusError):
    """The request is right, the state it meets is not."""

    code = "FAILED_PRECONDITION"


class ResourceExhaustedError(IsthmusError):
    """A limit is reached. Final, unless `retry_after_s` is set."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceededError(IsthmusError):
    """The caller's deadline passed before the work was done."""

    code = "DEADLINE_EXCEEDED"


class UnauthenticatedError(IsthmusError):
    """The call carries no API key, or one that is not known."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(IsthmusError):
    """The caller is known, and may not do this."""

    code = "PERMISSION_DENIED"


class UnavailableError(IsthmusError):
    """The service cannot answer now and may answer soon."""

    code = "UNAVAILABLE"


class DataLossError(IsthmusError):
    """Stored bytes do not match their digest."""

    code = "DATA_LOSS"


class InternalError(IsthmusError):
    """A bug. Its message is logged, never sent."""

    code = "INTERNAL"

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="INTERNAL")
