"""Digests by which the gateway and the index writer recognise what is stored already.

Both must agree to the byte, so both call these functions. Every part is preceded by its length, so that no two
different lists of parts give the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final, Literal

__all__ = ["DIGEST_BYTES", "AttributeScalar", "content_digest", "metadata_digest"]

DIGEST_BYTES: Final = 32
"""Length of a digest (SHA-256)."""

AttributeScalar = str | int | float | bool
"""A value an attribute may have; an int is one of 64 bits with a sign."""

_SIZE: Final = struct.Struct("<Q")
_CONTENT: Final = b"isthmus content 1"
_METADATA: Final = b"isthmus metadata 1"


def _part(data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + data


def content_digest(modality: Literal["image", "text"], content: bytes) -> bytes:
    """Return the SHA-256 over a modality and the bytes of an image file or of a text in UTF-8."""
    # The prefix is not joined to the content: that would copy an image of megabytes.
    digest = hashlib.sha256(_part(_CONTENT) + _part(modality.encode()) + _SIZE.pack(len(content)))
    digest.update(content)
    return digest.digest()


def _scalar(value: AttributeScalar) -> bytes:
    # A bool is an int to Python: it must be asked for first.
    if isinstance(value, bool):
        return b"b\x01" if value else b"b\x00"
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    return b"s" + value.encode()


def metadata_digest(
    modality: Literal["image", "text"],
    *,
    attributes: Mapping[str, AttributeScalar],
    pair_key: str,
    thumbnail: bytes,
    content_words: int = 0,
) -> bytes:
    """Return the SHA-256 over everything that is known of an item besides its content.

    Args:
        modality: What the item is made of.
        attributes: Its attributes; their order does not matter, their types do (1, 1.0 and True differ).
        pair_key: Its pair key; empty means none.
        thumbnail: Its thumbnail; empty means none.
        content_words: Words of its text. 0, which is not known, gives the digest of a time before they were counted: an
            item of that time is stored anew when it comes again, and nothing is encoded for it.

    Raises:
        struct.error: an int needs more than 64 bits.
    """
    digest = hashlib.sha256(_part(_METADATA) + _part(modality.encode()) + _part(pair_key.encode()) + _part(thumbnail))
    digest.update(_SIZE.pack(len(attributes)))
    for key, value in sorted((name.encode(), scalar) for name, scalar in attributes.items()):
        digest.update(_part(key) + _part(_scalar(value)))
    if content_words:
        digest.update(_SIZE.pack(content_words))
    return digest.digest()
