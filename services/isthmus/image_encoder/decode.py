"""Bytes to an upright RGB picture, within the limits, whatever the bytes are.

Decisions, all part of every image encoder's revision through its schema name:

- The EXIF orientation is applied: the model sees the picture as a person does. Damaged EXIF data is ignored.
- An alpha channel is dropped, as `convert("RGB")` of transformers does; palettes and CMYK are converted.
- 16-bit grey is scaled to 8 bits; Pillow alone would clip it to white.
- Pillow's `draft` mode for JPEG is not used: it changes the resampling, hence the embedding.
"""

from __future__ import annotations

import io

from PIL import ExifTags, Image

from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.image_header import ImageHeader, check_image

__all__ = ["decode_image"]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it."""
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def decode_image(data: bytes) -> Image.Image:
    """Decode a JPEG, PNG or WEBP file of one frame. Thread-safe.

    Args:
        data: The file.

    Returns:
        An upright RGB picture.

    Raises:
        InvalidArgumentError: Empty, damaged, cut short, of another format, or with several frames.
        ResourceExhaustedError: Over a limit; found before anything is decoded.
    """
    header = check_image(data)
    try:
        with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
            _check_agrees(image, header)
            orientation = _orientation(image)
            return _upright(_rgb(image), orientation)
    except Exception as error:
        # A decoder fed hostile bytes raises what it likes: OSError, SyntaxError, struct.error, MemoryError …
        raise _unreadable() from error


def _check_agrees(image: Image.Image, header: ImageHeader) -> None:
    """Refuse a file in which Pillow sees another size than the header check did: its limits would not hold."""
    if image.size != (header.width, header.height):
        msg = "the decoder and the header check disagree about the size"
        raise ValueError(msg)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF data raises what it likes, and is only an ornament
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode in _DEEP_GREY:
        image = image.convert("I").point(lambda level: level / 256).convert("L")
    return image.convert("RGB")


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    undo = _UPRIGHT.get(orientation)
    return image if undo is None else image.transpose(undo)


def _unreadable() -> InvalidArgumentError:
    msg = "image: cannot be decoded, it is damaged or cut short"
    return InvalidArgumentError(msg, reason="INVALID_IMAGE", metadata={"field": "image"})
