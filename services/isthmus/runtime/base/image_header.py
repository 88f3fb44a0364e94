"""Read an image's format, size and frame count from its header, and refuse what must not be decoded.

A PNG of 9,924 bytes can take 400 MB to decode, a progressive JPEG of a few megabytes can take minutes: nothing here
decompresses anything, allocates by a number from the file, or walks more than a fixed count of segments. The gateway
calls this before it spends anything on an image, the image encoder calls it again before it decodes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import IMAGE_MAX_BYTES, IMAGE_MAX_PX, IMAGE_MAX_SIDE_PX

__all__ = ["IMAGE_MAX_ASPECT", "ImageHeader", "check_image"]

IMAGE_MAX_ASPECT: Final = 64
"""Longer side over shorter side. A processor that scales the shorter side up to 224 pixels would otherwise make an
image of 1.8 million by 224 pixels of one that is 8,192 by 1."""
_MAX_SEGMENTS = 4_096  # real files hold a few hundred at most (an ICC profile in 255 parts)
_MAX_SCANS = 50  # a progressive JPEG has about 10; each scan of a crafted one costs a pass over all its pixels
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SOF = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what decoders read


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says of itself."""

    format: Literal["JPEG", "PNG", "WEBP"]
    """One of the three that are read."""
    width: int
    """Pixels, before any EXIF rotation."""
    height: int
    """Pixels, before any EXIF rotation."""


def check_image(data: bytes, *, field: str = "image") -> ImageHeader:
    """Read the header and hold it against the limits.

    Args:
        data: The file.
        field: Name of the field it came in, for messages.

    Returns:
        Format and size: JPEG, PNG or WEBP, one frame, within every limit.

    Raises:
        InvalidArgumentError: Empty (EMPTY_INPUT), damaged (INVALID_IMAGE), of another format or with several frames
            (IMAGE_FORMAT_UNSUPPORTED).
        ResourceExhaustedError: Over a limit of bytes, pixels, side or aspect (IMAGE_TOO_LARGE).
    """
    if not data:
        msg = f"{field}: is empty"
        raise InvalidArgumentError(msg, reason="EMPTY_INPUT", metadata={"field": field})
    if len(data) > IMAGE_MAX_BYTES:
        raise _too_large(field, "bytes", len(data), IMAGE_MAX_BYTES)
    try:
        header = _read(data, field)
        _check_size(header, field)
        if header.format == "PNG":
            _check_png_frames(data, field)
    except (struct.error, IndexError) as error:
        raise _damaged(field, "its header is cut short") from error
    return header


def _check_size(header: ImageHeader, field: str) -> None:
    longer, shorter = max(header.width, header.height), min(header.width, header.height)
    if shorter == 0:
        raise _damaged(field, "a side has no pixels")
    if longer > IMAGE_MAX_SIDE_PX:
        raise _too_large(field, "pixels a side", longer, IMAGE_MAX_SIDE_PX)
    if longer * shorter > IMAGE_MAX_PX:
        raise _too_large(field, "pixels", longer * shorter, IMAGE_MAX_PX)
    if longer > IMAGE_MAX_ASPECT * shorter:
        raise _too_large(field, "times as long as wide", longer // shorter, IMAGE_MAX_ASPECT)


def _read(data: bytes, field: str) -> ImageHeader:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, field)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data, field)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data, field)
    msg = f"{field}: is not a JPEG, PNG or WEBP file"
    raise _unsupported(field, msg)


def _jpeg(data: bytes, field: str) -> ImageHeader:
    """Walk the segments up to the frame header. Further pictures behind the first (MPO) are not looked at."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        if data[position] != 0xFF:  # noqa: PLR2004 - every marker starts so
            raise _damaged(field, "a segment is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            position += 1
            continue
        if marker in _SOF:
            precision, height, width = struct.unpack_from(">BHH", data, position + 4)
            if precision != 8:  # noqa: PLR2004 - 12 bits a sample is medical
                msg = f"{field}: a JPEG of {precision} bits a sample is not supported"
                raise _unsupported(field, msg)
            if data.count(b"\xff\xda") > _MAX_SCANS:
                raise _too_large(field, "scans", data.count(b"\xff\xda"), _MAX_SCANS)
            return ImageHeader("JPEG", width, height)
        if marker == 0xDA:  # noqa: PLR2004 - pixels begin
            break
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise _damaged(field, "it has no supported frame header")


def _png(data: bytes, field: str) -> ImageHeader:
    """Read IHDR."""
    length, kind, width, height = struct.unpack_from(">I4sII", data, len(_PNG_SIGNATURE))
    if kind != b"IHDR" or length != 13:  # noqa: PLR2004 - its fixed size
        raise _damaged(field, "its header chunk is missing")
    return ImageHeader("PNG", width, height)


def _check_png_frames(data: bytes, field: str) -> None:
    """Look for an animation before the pixels begin."""
    position = len(_PNG_SIGNATURE)
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            return
        if kind == b"acTL":
            raise _animated(field)
        position += 12 + length
    raise _damaged(field, "it has no pixels")


def _webp(data: bytes, field: str) -> ImageHeader:
    """Read the first chunk: lossy, lossless, or the extended header with its animation flag."""
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise _damaged(field, "its frame header is missing")
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageHeader("WEBP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        if data[20] != 0x2F:  # noqa: PLR2004 - the signature of lossless data
            raise _damaged(field, "its frame header is missing")
        bits = int.from_bytes(_exactly(data, 21, 4), "little")
        return ImageHeader("WEBP", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise _animated(field)
        width = int.from_bytes(_exactly(data, 24, 3), "little") + 1
        height = int.from_bytes(_exactly(data, 27, 3), "little") + 1
        return ImageHeader("WEBP", width, height)
    raise _damaged(field, "it has no frame")


def _exactly(data: bytes, start: int, count: int) -> bytes:
    """Return `count` bytes, or raise IndexError where a slice would silently be shorter."""
    if len(data) < start + count:
        raise IndexError(start)
    return data[start : start + count]


def _damaged(field: str, problem: str) -> IsthmusError:
    msg = f"{field}: cannot be read, {problem}"
    return InvalidArgumentError(msg, reason="INVALID_IMAGE", metadata={"field": field})


def _unsupported(field: str, message: str) -> IsthmusError:
    return InvalidArgumentError(message, reason="IMAGE_FORMAT_UNSUPPORTED", metadata={"field": field})


def _animated(field: str) -> IsthmusError:
    return _unsupported(field, f"{field}: has several frames; one is the limit")


def _too_large(field: str, unit: str, size: int, limit: int) -> IsthmusError:
    msg = f"{field}: has {size} {unit}; the limit is {limit}"
    return ResourceExhaustedError(
        msg,
        reason="IMAGE_TOO_LARGE",
        metadata={"field": field, "unit": unit, "size": str(size), "limit": str(limit)},
    )
