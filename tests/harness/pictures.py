"""Pictures made on the spot: many, different, and broken in chosen ways."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

__all__ = ["huge_png_header", "jpeg", "raw_like", "truncated_jpeg"]


def jpeg(seed: int, *, side_px: int = 64) -> bytes:
    """Return a JPEG of coloured blocks that depends on the seed alone."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((side_px, side_px), Image.Resampling.NEAREST).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def raw_like(seed: int, *, side_px: int = 32) -> bytes:
    """Return an uncompressed PNG: every seed gives a file of exactly the same size."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def truncated_jpeg() -> bytes:
    """Return a JPEG whose header is whole and whose data stops half way."""
    whole = jpeg(1, side_px=256)
    return whole[: len(whole) // 2]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png_header(side_px: int = 20_000) -> bytes:
    """Return a PNG of a few dozen bytes whose header claims `side_px` x `side_px` pixels."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
