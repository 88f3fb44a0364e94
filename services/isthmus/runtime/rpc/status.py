"""The one table between domain errors and gRPC: out to a caller, in from a backend, and into an item's error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from isthmus.runtime.base import errors
from isthmus.runtime.base.errors import IsthmusError
from isthmus.v1 import common_pb2, errors_pb2

__all__ = ["DOMAIN", "from_item_error", "from_rpc_error", "item_error", "to_domain_error", "to_status"]

DOMAIN: Final = "isthmus"
_PREFIX: Final = "ERROR_REASON_"
_CLASSES: Final[Mapping[str, type[IsthmusError]]] = {
    cls.code: cls
    for cls in (
        errors.InvalidArgumentError,
        errors.NotFoundError,
        errors.AlreadyExistsError,
        errors.FailedPreconditionError,
        errors.ResourceExhaustedError,
        errors.DeadlineExceededError,
        errors.UnauthenticatedError,
        errors.PermissionDeniedError,
        errors.UnavailableError,
        errors.DataLossError,
    )
}
_INTERNAL_MESSAGE: Final = "internal error"


def to_domain_error(error: BaseException) -> IsthmusError:
    """Return `error` if a caller may see it, else an InternalError that says nothing."""
    if isinstance(error, IsthmusError) and not isinstance(error, errors.InternalError):
        return error
    return errors.InternalError(_INTERNAL_MESSAGE)


def _status_proto(error: IsthmusError) -> status_pb2.Status:
    shown = to_domain_error(error)
    details = []
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=shown.reason, domain=DOMAIN, metadata=shown.metadata))
    details.append(info)
    if shown.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(shown.retry_after_s * 1e9))
        retry = any_pb2.Any()
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        details.append(retry)
    return status_pb2.Status(code=code_pb2.Code.Value(shown.code), message=shown.message, details=details)


def to_status(error: BaseException) -> grpc.Status:
    """Return the status to abort a call with."""
    status: grpc.Status = rpc_status.to_status(_status_proto(to_domain_error(error)))
    return status


def item_error(index: int, error: BaseException) -> common_pb2.ItemError:
    """Return the entry for item `index` of a batch."""
    shown = to_domain_error(error)
    return common_pb2.ItemError(
        index=index,
        code=code_pb2.Code.Value(shown.code),
        reason=errors_pb2.ErrorReason.Value(f"{_PREFIX}{shown.reason}"),
        message=shown.message,
        metadata=shown.metadata,
    )


def from_item_error(message: common_pb2.ItemError) -> IsthmusError:
    """Return the error a backend reported for one item."""
    reason = errors_pb2.ErrorReason.Name(message.reason).removeprefix(_PREFIX)
    return _build(code_pb2.Code.Name(message.code), message.message, reason=reason, metadata=message.metadata)


def from_rpc_error(error: grpc.RpcError, *, backend: str) -> IsthmusError:
    """Return what a failed call to `backend` means for the caller of this service.

    A refusal with a reason of ours is passed on. A backend that cannot be reached is UNAVAILABLE; anything else it did
    is our fault, and is INTERNAL.
    """
    assert isinstance(error, grpc.aio.AioRpcError)
    code = error.code()
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    reason, metadata, retry_after_s = "", {}, None
    for detail in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    if reason:
        return _build(code.name, status.message, reason=reason, metadata=metadata, retry_after_s=retry_after_s)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        msg = "the deadline passed before the work was done"
        return errors.DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        msg = f"the {backend} service does not answer"
        return errors.UnavailableError(msg, reason="BACKEND_UNAVAILABLE", metadata={"backend": backend})
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        msg = f"the {backend} service refused the call for its size or its load"
        return errors.ResourceExhaustedError(msg, reason="OVERLOADED", metadata={"backend": backend})
    return errors.InternalError(_INTERNAL_MESSAGE)


def _build(
    code: str,
    message: str,
    *,
    reason: str,
    metadata: Mapping[str, str],
    retry_after_s: float | None = None,
) -> IsthmusError:
    if code == "INTERNAL" and reason != "INTERNAL":
        return IsthmusError(message, reason=reason, metadata=metadata)  # a failure that is meant to be told
    cls = _CLASSES.get(code)
    if cls is None:
        return errors.InternalError(_INTERNAL_MESSAGE)
    return cls(message, reason=reason, metadata=metadata, retry_after_s=retry_after_s)
