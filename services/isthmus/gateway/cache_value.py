"""The value of a cached embedding, made so that no damage and no forgery is ever served.

    offset  bytes  what
    0       2      magic "IE"
    2       1      version, 1
    3       1      flags: bit 0 is set when the text was cut to the encoder's context
    4       4      dimension, little-endian
    8       4      CRC-32 over bytes 0-7 and the payload
    12      16     first half of HMAC-SHA-256 over the key, bytes 0-11 and the payload
    28      2 d    payload: the row, little-endian float16

The code covers the key, so a value that is sound but was stored under another key is refused as well.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np

from isthmus.gateway.domain import ROW_COMPONENT_BYTES, ROW_TYPE, Row

__all__ = ["Damage", "open_values", "seal_value", "unit_rows"]

_HEAD: Final = struct.Struct("<2sBBI")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"IE"
_VERSION: Final = 1
_TRUNCATED: Final = 1
_KNOWN_FLAGS: Final = _TRUNCATED
_MAC_BYTES: Final = 16
_PREFIX_BYTES: Final = _HEAD.size + _CRC.size
_PAYLOAD_AT: Final = _PREFIX_BYTES + _MAC_BYTES
_NORM_SLACK: Final = 1e-3
"""Rounding to float16 moves a norm by at most 2^-11 of itself."""


class Damage(StrEnum):
    """Why a value was refused."""

    LENGTH = "length"
    HEADER = "header"
    DIMENSION = "dimension"
    CHECKSUM = "checksum"
    CODE = "code"
    NOT_UNIT = "not_unit"


def _code(secret: bytes, key: bytes, prefix: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, key + prefix + payload, "sha256")[:_MAC_BYTES]


def seal_value(secret: bytes, key: bytes, row: Row) -> bytes:
    """Return the value to store under `key`."""
    head = _HEAD.pack(_MAGIC, _VERSION, _TRUNCATED if row.truncated else 0, len(row.data) // ROW_COMPONENT_BYTES)
    prefix = head + _CRC.pack(zlib.crc32(row.data, zlib.crc32(head)))
    return prefix + _code(secret, key, prefix, row.data) + row.data


def _open(secret: bytes, key: bytes, value: bytes, dimension: int) -> Row | Damage:
    if len(value) != _PAYLOAD_AT + dimension * ROW_COMPONENT_BYTES:
        return Damage.LENGTH
    magic, version, flags, stated = _HEAD.unpack_from(value)
    if magic != _MAGIC or version != _VERSION or flags & ~_KNOWN_FLAGS:
        return Damage.HEADER
    if stated != dimension:
        return Damage.DIMENSION
    payload = value[_PAYLOAD_AT:]
    (crc,) = _CRC.unpack_from(value, _HEAD.size)
    if crc != zlib.crc32(payload, zlib.crc32(value[: _HEAD.size])):
        return Damage.CHECKSUM
    code = _code(secret, key, value[:_PREFIX_BYTES], payload)
    if not hmac.compare_digest(code, value[_PREFIX_BYTES:_PAYLOAD_AT]):
        return Damage.CODE
    return Row(payload, bool(flags & _TRUNCATED))


def unit_rows(rows: Sequence[bytes], dimension: int) -> list[bool]:
    """Return, for each row of `dimension` float16 components, whether it is finite and of unit norm."""
    array = np.frombuffer(b"".join(rows), dtype=ROW_TYPE).reshape(len(rows), dimension).astype(np.float32)
    squares: np.ndarray[tuple[int], np.dtype[np.float32]] = np.einsum("nd,nd->n", array, array)
    # NaN and infinity fail this comparison too.
    sound: list[bool] = (np.abs(np.sqrt(squares) - 1.0) <= _NORM_SLACK).tolist()
    return sound


def open_values(
    secret: bytes, keys: Sequence[bytes], values: Sequence[bytes | None], dimension: int
) -> list[Row | Damage | None]:
    """Check stored values and return their rows.

    Args:
        secret: The key of the code.
        keys: Under which the values were stored.
        values: What was found; None where nothing was.
        dimension: What a row must have.

    Returns:
        For each value: its row; why it was refused; or None where nothing was found.
    """
    opened = [
        None if value is None else _open(secret, key, value, dimension) for key, value in zip(keys, values, strict=True)
    ]
    found = [(position, entry) for position, entry in enumerate(opened) if isinstance(entry, Row)]
    if found:
        sound = unit_rows([row.data for _, row in found], dimension)
        for (position, _), good in zip(found, sound, strict=True):
            if not good:
                opened[position] = Damage.NOT_UNIT
    return opened
