"""Check names, ids and keys at the door."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import ID_MAX_BYTES, REQUEST_ID_MAX_COUNT

__all__ = ["check_count", "check_item_id", "check_name", "check_pair_key", "check_request_id", "check_space"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SPACE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,126}@[0-9a-f]{8,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def check_name(name: str, *, field: str) -> str:
    """Return `name` if it may name a collection, an aligner or a tenant.

    Raises:
        InvalidArgumentError: INVALID_NAME.
    """
    if _NAME.fullmatch(name) is None:
        msg = f"{field} must match ^[a-z0-9][a-z0-9_-]{{0,62}}$; it has {len(name)} characters"
        raise InvalidArgumentError(msg, reason="INVALID_NAME", metadata={"field": field, "length": str(len(name))})
    return name


def check_space(space: str, *, field: str) -> str:
    """Return `space` if it has the form `id@revision`.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """
    if _SPACE.fullmatch(space) is None:
        msg = f"{field} must have the form id@revision; it has {len(space)} characters"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field, "length": str(len(space))})
    return space


def check_request_id(request_id: str) -> str:
    """Return `request_id` if it is 1 to 64 letters, digits or `_.:-`.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED or INVALID_FIELD.
    """
    if not request_id:
        msg = "request_id is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "request_id"})
    if _REQUEST_ID.fullmatch(request_id) is None:
        msg = (
            f"request_id must be 1 to {REQUEST_ID_MAX_COUNT} letters, digits or _.:-; "
            f"it has {len(request_id)} characters"
        )
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "request_id"})
    return request_id


def _check_key(key: str, *, field: str, reason: str, least_bytes: int) -> str:
    size = len(key.encode())
    # What can be printed holds no control character; that is quick to ask, and true of nearly every key.
    controls = not key.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in key)
    if controls or not least_bytes <= size <= ID_MAX_BYTES:
        msg = f"{field} must be {least_bytes} to {ID_MAX_BYTES} bytes without control characters; it has {size} bytes"
        raise InvalidArgumentError(msg, reason=reason, metadata={"field": field, "bytes": str(size)})
    return key


def check_item_id(item_id: str) -> str:
    """Return `item_id` if it is 1 to 256 bytes without control characters.

    Raises:
        InvalidArgumentError: INVALID_ITEM_ID.
    """
    return _check_key(item_id, field="id", reason="INVALID_ITEM_ID", least_bytes=1)


def check_pair_key(pair_key: str) -> str:
    """Return `pair_key` if it is at most 256 bytes without control characters; empty means none.

    Raises:
        InvalidArgumentError: INVALID_PAIR_KEY.
    """
    return _check_key(pair_key, field="pair_key", reason="INVALID_PAIR_KEY", least_bytes=0)


def check_count(entries: Sequence[object], *, field: str, limit: int) -> None:
    """Check that a batch holds 1 to `limit` entries.

    Raises:
        InvalidArgumentError: EMPTY_INPUT.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    if not entries:
        msg = f"{field} holds no entries"
        raise InvalidArgumentError(msg, reason="EMPTY_INPUT", metadata={"field": field})
    if len(entries) > limit:
        msg = f"{field} holds {len(entries)} entries; the limit is {limit}"
        raise ResourceExhaustedError(
            msg,
            reason="BATCH_TOO_LARGE",
            metadata={"field": field, "limit": str(limit), "count": str(len(entries))},
        )
