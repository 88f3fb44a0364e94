"""Contents that are embedded once before the gateway says that it is ready."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content
from isthmus.gateway.validation import image_content, text_content

__all__ = ["dummy_content"]

_SIDE_PX: Final = 32


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _grey_png() -> bytes:
    """Return a grey PNG: eight bits a pixel, one channel, no filter."""
    header = struct.pack(">IIBBBBB", _SIDE_PX, _SIDE_PX, 8, 0, 0, 0, 0)
    pixels = (b"\x00" + b"\x80" * _SIDE_PX) * _SIDE_PX
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def dummy_content(modality: Modality) -> Content:
    """Return something harmless to embed."""
    return image_content(_grey_png()) if modality is Modality.IMAGE else text_content("a grey square")
