"""Tokens of pages: where a search goes on. Opaque, but they hold nothing that a caller may not know or change."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["PageToken", "read_token", "search_digest", "write_token"]

_VERSION: Final = 1
_FORM: Final = struct.Struct("<B8sQI16s")
_FIELD: Final = "page_token"


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a search goes on.

    Attributes:
        order: 8 bytes of the searcher's; what is answered from another order is another search.
        revision: The revision that was searched.
        position: Answers that came before.
        search: 16 bytes; digest of what was asked.
    """

    order: bytes
    revision: int
    position: int
    search: bytes


def search_digest(asked: object) -> bytes:
    """Return 16 bytes that tell what was asked apart, by its `repr`."""
    return hashlib.sha256(repr(asked).encode()).digest()[:16]


def write_token(token: PageToken) -> str:
    """Return a token as text."""
    data = _FORM.pack(_VERSION, token.order, token.revision, token.position, token.search)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_token(text: str, *, search: bytes) -> PageToken:
    """Read what `write_token` wrote.

    Args:
        text: The token.
        search: Digest of what is asked now.

    Raises:
        InvalidArgumentError: INVALID_FIELD; it is no token, or of another search.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, *parts = _FORM.unpack(data)
    except (binascii.Error, ValueError, struct.error):
        version, parts = 0, []
    if version != _VERSION:
        msg = "page_token is none that a search returned"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": _FIELD})
    token = PageToken(*parts)
    if token.search != search:
        msg = "page_token belongs to another search; everything but page_token and min_revision must be as it was"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": _FIELD})
    return token
