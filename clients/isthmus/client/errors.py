"""Every way a call can fail, as one tree.

    IsthmusError                   any failure that the mesh, or the way to it, reports
    ├── InvalidArgumentError       the request itself is wrong; sending it again cannot help
    ├── NotFoundError              a collection, item or aligner that is not there
    ├── AlreadyExistsError         a name that is taken
    ├── FailedPreconditionError    right request, wrong state: spaces differ, no aligner
    ├── ResourceExhaustedError     over a limit, or shed; final unless `retry_after_s` is set
    ├── DeadlineExceededError      the deadline passed; the work may or may not be done
    ├── CallCancelledError         the call was cancelled
    ├── AbortedError               it collided with another mutation; read again, then try again
    ├── UnavailableError           nobody answers now; it was retried where that is safe
    ├── UnauthenticatedError       no key, or a wrong one
    ├── PermissionDeniedError      the key does not allow this
    ├── UnimplementedError         the server is older than this client
    ├── DataLossError              stored bytes do not match their digest
    └── InternalError              a bug in the mesh; `request_id` finds it in the logs

Wrong arguments that never reach the mesh (no query given, two given) are ordinary `ValueError`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CallCancelledError",
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
    "UnimplementedError",
    "error_class",
]


class IsthmusError(Exception):
    """A failure with a canonical gRPC code.

    Attributes:
        message: What is wrong, for a person.
        code: Name of the `google.rpc.Code`, for example `NOT_FOUND`.
        reason: Name of an `isthmus.v1.ErrorReason` without its prefix, for example `COLLECTION_NOT_FOUND`; empty when
            the failure did not come from the mesh itself (nobody answered).
        metadata: The variable parts of the message, for machines.
        retry_after_s: Seconds after which trying again makes sense; None when the mesh did not say.
        request_id: Names the call in the mesh's logs.
    """

    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{message} ({reason or code})")
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InvalidArgumentError(IsthmusError):
    """The request itself is wrong."""

    codes = ("INVALID_ARGUMENT", "OUT_OF_RANGE")


class NotFoundError(IsthmusError):
    """What the request names is not there."""

    codes = ("NOT_FOUND",)


class AlreadyExistsError(IsthmusError):
    """What the request would make is there already."""

    codes = ("ALREADY_EXISTS",)


class FailedPreconditionError(IsthmusError):
    """The request is right, the state it meets is not."""

    codes = ("FAILED_PRECONDITION",)


class ResourceExhaustedError(IsthmusError):
    """A limit is reached. Final, unless `retry_after_s` is set."""

    codes = ("RESOURCE_EXHAUSTED",)


class DeadlineExceededError(IsthmusError):
    """The deadline passed. A mutation may have been applied: send it again under the same request id."""

    codes = ("DEADLINE_EXCEEDED",)


class CallCancelledError(IsthmusError):
    """The call was cancelled before it ended."""

    codes = ("CANCELLED",)


class AbortedError(IsthmusError):
    """The mutation collided with another one."""

    codes = ("ABORTED",)


class UnavailableError(IsthmusError):
    """Nobody answers, or the mesh is warming up or draining."""

    codes = ("UNAVAILABLE",)


class UnauthenticatedError(IsthmusError):
    """There is no key, or it is not known."""

    codes = ("UNAUTHENTICATED",)


class PermissionDeniedError(IsthmusError):
    """The key does not allow this."""

    codes = ("PERMISSION_DENIED",)


class UnimplementedError(IsthmusError):
    """The server does not know this call."""

    codes = ("UNIMPLEMENTED",)


class DataLossError(IsthmusError):
    """Stored bytes do not match their digest."""

    codes = ("DATA_LOSS",)


class InternalError(IsthmusError):
    """A bug in the mesh, or an answer that is not one."""

    codes = ("INTERNAL", "UNKNOWN")


_CLASSES: Final[Mapping[str, type[IsthmusError]]] = {
    code: cls for cls in IsthmusError.__subclasses__() for code in cls.codes
}


def error_class(code: str) -> type[IsthmusError]:
    """Return the class for the name of a `google.rpc.Code`; InternalError for a name nobody knows."""
    return _CLASSES.get(code, InternalError)
