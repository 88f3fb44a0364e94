"""Small pictures of images, for collections that keep them."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageOps

__all__ = ["thumbnail"]

_SIDE_PX: Final = 256
_MAX_BYTES: Final = 64 * 1024
_MAX_PX: Final = 16_777_216
_FORMATS: Final = ("JPEG", "PNG", "WEBP")


def thumbnail(image: bytes) -> bytes:
    """Return a JPEG of at most 256 pixels a side and 64 KiB; empty for what the mesh will refuse anyway."""
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MAX_PX:
                return b""
            # Decodes a JPEG at the least size that suffices.
            opened.draft("RGB", (_SIDE_PX * 2, _SIDE_PX * 2))
            small = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return b""
    small.thumbnail((_SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue() if buffer.tell() <= _MAX_BYTES else b""
