"""Something harmless to embed, to see whether an encoder works."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Final

__all__ = ["DUMMY_TEXT", "dummy_image"]

DUMMY_TEXT: Final = "a grey square"
_SIDE_PX: Final = 32


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def dummy_image() -> bytes:
    """Return a grey PNG: eight bits a pixel, one channel, no filter."""
    header = struct.pack(">IIBBBBB", _SIDE_PX, _SIDE_PX, 8, 0, 0, 0, 0)
    pixels = (b"\x00" + b"\x80" * _SIDE_PX) * _SIDE_PX
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
