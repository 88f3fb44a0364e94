"""From a failed gRPC call, or a failed item, to an exception: the one place that reads status details."""

from __future__ import annotations

from typing import Final, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from isthmus.client.errors import IsthmusError, error_class
from isthmus.client.results import ItemError
from isthmus.v1 import common_pb2, errors_pb2

__all__ = ["REQUEST_ID_KEY", "from_item_error", "from_rpc_error"]

REQUEST_ID_KEY: Final = "x-isthmus-request-id"
"""Metadata key under which a call's id travels, both ways."""
_DETAILS_KEY: Final = "grpc-status-details-bin"
_PREFIX: Final = "ERROR_REASON_"


class _FailedCall(Protocol):
    """What sync and async errors of grpc have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> object: ...


def from_rpc_error(error: grpc.RpcError, *, address: str, request_id: str) -> IsthmusError:
    """Return the exception for a failed call.

    Args:
        error: From grpc, sync or async.
        address: Where the call went, for the message of an unreachable mesh.
        request_id: The id the call was sent with; the server's own wins if it differs.
    """
    failed = cast("_FailedCall", error)
    code, details = failed.code().name, failed.details() or ""
    trailing = {
        str(key): value for key, value in cast("tuple[tuple[str, str | bytes], ...]", failed.trailing_metadata() or ())
    }
    served_id = trailing.get(REQUEST_ID_KEY)
    request_id = served_id if isinstance(served_id, str) else request_id
    status = _parse_status(trailing.get(_DETAILS_KEY))
    info, retry_after_s = error_details_pb2.ErrorInfo(), None
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    message, reason = (status.message or details, info.reason) if info.reason else _unexplained(code, details, address)
    return error_class(code)(
        message,
        code=code,
        reason=reason,
        metadata=info.metadata,
        retry_after_s=retry_after_s,
        request_id=request_id,
    )


def _parse_status(packed: str | bytes | None) -> status_pb2.Status:
    status = status_pb2.Status()
    if isinstance(packed, bytes):
        try:
            status.ParseFromString(packed)
        except DecodeError:
            return status_pb2.Status()
    return status


def _unexplained(code: str, details: str, address: str) -> tuple[str, str]:
    """Return (message, reason) of a failure that no service of the mesh explained."""
    if code == "DEADLINE_EXCEEDED":
        return "the deadline passed before an answer came", "DEADLINE_EXCEEDED"
    if code == "CANCELLED":
        return "the call was cancelled", "CANCELLED"
    if code == "UNAVAILABLE":
        problem = _handshake_problem(details)
        if problem:
            return f"no TLS connection to {address}: {problem}", ""
        # What gRPC says of a refused connection is long and about addresses; it stays in the exception's cause.
        known = "Failed to connect" in details or "failed to connect" in details
        return (f"nobody answers at {address}" if known else f"the connection to {address} broke: {details}"), ""
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
        return details, "MESSAGE_TOO_LARGE"
    return details or "the call failed without a message", ""


def _handshake_problem(details: str) -> str:
    """Return what was wrong with a TLS handshake, or nothing when none failed on this side."""
    if "Hostname Verification" in details:
        return "the certificate is of another name; server_name says that it is meant"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        why = details.rpartition("CERTIFICATE_VERIFY_FAILED: ")[2].removesuffix(": OK")
        return f"the certificate is not believed: {why}"
    if "WRONG_VERSION_NUMBER" in details:
        return "what listens there speaks in the clear, or another protocol"
    return "the handshake failed" if "handshake failed" in details else ""


def from_item_error(error: common_pb2.ItemError, *, index: int, item_id: str = "") -> ItemError:
    """Return the error of one item.

    Args:
        error: From the wire; its own index counts within one message.
        index: Position of the item among all items of the call.
        item_id: The item's id, where items have one.
    """
    return ItemError(
        index=index,
        id=item_id,
        code=_code_name(error.code),
        reason=_reason_name(error.reason),
        message=error.message,
        metadata=dict(error.metadata),
    )


def _code_name(number: int) -> str:
    """Return the name of a code; UNKNOWN for a number this client does not know."""
    return str(code_pb2.Code.Name(number)) if number in code_pb2.Code.values() else "UNKNOWN"


def _reason_name(number: int) -> str:
    """Return the name of a reason without its prefix; UNSPECIFIED for one that a newer server made up."""
    known = number in errors_pb2.ErrorReason.values()
    reason = cast("errors_pb2.ErrorReason.ValueType", number if known else 0)
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)
