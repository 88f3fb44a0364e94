"""Images, vectors and attributes to the wire and back. Pillow is imported only for an array that must become a file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.client.inputs import (
    FitOptions,
    ImageLike,
    Item,
    Modality,
    PillowImage,
    SpacedVector,
)
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = [
    "MODALITIES",
    "attribute_message",
    "fit_options_message",
    "image_bytes",
    "item_message",
    "modality_name",
    "spaced_vector_message",
    "vector_message",
    "vector_rows",
]

MODALITIES: Final[Mapping[Modality, common_pb2.Modality.ValueType]] = {
    "image": common_pb2.MODALITY_IMAGE,
    "text": common_pb2.MODALITY_TEXT,
}
"""Number of each modality on the wire."""
_NAMES: Final[Mapping[int, Modality]] = {number: name for name, number in MODALITIES.items()}
_DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    common_pb2.VECTOR_TYPE_UNSPECIFIED: np.dtype("<f4"),
    common_pb2.VECTOR_TYPE_FLOAT32: np.dtype("<f4"),
    common_pb2.VECTOR_TYPE_FLOAT16: np.dtype("<f2"),
}
_PNG_MODES: Final = frozenset({"1", "L", "RGB", "RGBA"})
_GREY_NDIM: Final = 2
_COLOUR_NDIM: Final = 3
_COLOUR_CHANNELS: Final = (3, 4)


def modality_name(number: int) -> Modality:
    """Return the name of a modality from the wire.

    Raises:
        ValueError: this client does not know it.
    """
    if number not in _NAMES:
        msg = f"the server answered with modality {number}, which this client does not know"
        raise ValueError(msg)
    return _NAMES[number]


def image_bytes(image: ImageLike) -> bytes:
    """Return an image as the bytes of a file; what is a file already is not touched.

    Raises:
        OSError: a path cannot be read.
        ValueError: an array has another shape or type than an image has.
        TypeError: it is nothing known.
        ImportError: an array is given and Pillow is not installed.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        return _png(_from_array(image))
    if callable(getattr(image, "save", None)) and hasattr(image, "mode"):
        return _png(image)
    msg = f"an image must be bytes, a path, a uint8 array or a Pillow image, not {type(image).__name__}"
    raise TypeError(msg)


def _from_array(pixels: NDArray[Any]) -> PillowImage:
    grey = pixels.ndim == _GREY_NDIM
    colour = pixels.ndim == _COLOUR_NDIM and pixels.shape[2] in _COLOUR_CHANNELS
    if pixels.dtype != np.uint8 or not (grey or colour):
        msg = (
            "an image array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4); "
            f"this one is {pixels.dtype} of shape {pixels.shape}"
        )
        raise ValueError(msg)
    try:
        from PIL import Image  # noqa: PLC0415 - the client runs without Pillow
    except ImportError as error:
        msg = 'sending an array as an image needs Pillow: pip install "isthmus[images]"'
        raise ImportError(msg) from error
    return cast("PillowImage", Image.fromarray(np.ascontiguousarray(pixels)))


def _png(image: PillowImage) -> bytes:
    buffer = io.BytesIO()
    plain = image if image.mode in _PNG_MODES else image.convert("RGB")
    # A photograph that was opened and not turned keeps its orientation, as its file would.
    exif = image.info.get("exif")
    plain.save(buffer, format="PNG", **({} if exif is None else {"exif": exif}))
    return buffer.getvalue()


def vector_message(values: ArrayLike) -> common_pb2.Vectors:
    """Pack one vector; float16 stays float16, everything else becomes float32.

    Args:
        values: (d,) or (1, d) numbers.

    Raises:
        ValueError: it has another shape or no components.
    """
    array = np.asarray(values)
    if array.ndim == _GREY_NDIM and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or not array.size:
        msg = f"a vector must have shape (d,) or (1, d); this one has {array.shape}"
        raise ValueError(msg)
    half = array.dtype == np.float16
    kind = common_pb2.VECTOR_TYPE_FLOAT16 if half else common_pb2.VECTOR_TYPE_FLOAT32
    return common_pb2.Vectors(data=array.astype(_DTYPES[kind]).tobytes(), dimension=array.size, type=kind)


def vector_rows(message: common_pb2.Vectors) -> NDArray[np.float32]:
    """Unpack rows from the wire as (n, d) float32.

    Raises:
        ValueError: the bytes are not rows of that dimension and type.
    """
    dtype = _DTYPES.get(message.type)
    if dtype is None or not message.dimension or len(message.data) % (message.dimension * dtype.itemsize):
        msg = f"the server answered with {len(message.data)} bytes that are not rows of dimension {message.dimension}"
        raise ValueError(msg)
    flat = np.frombuffer(message.data, dtype=dtype).astype(np.float32)
    return flat.reshape(-1, message.dimension)


def spaced_vector_message(vector: SpacedVector) -> gateway_service_pb2.SpacedVector:
    """Pack a vector with its modality and space.

    Raises:
        ValueError: it is not one vector, or its modality is neither image nor text.
    """
    if vector.modality not in MODALITIES:
        msg = "a vector's modality must be image or text"
        raise ValueError(msg)
    return gateway_service_pb2.SpacedVector(
        vector=vector_message(vector.values), modality=MODALITIES[vector.modality], space=vector.space
    )


def attribute_message(value: object) -> common_pb2.AttributeValue:
    """Pack the value of an attribute.

    Raises:
        TypeError: it is not a str, int, float or bool.
        ValueError: a whole number does not fit 64 bits, or a number is not finite.
    """
    # bool first: it is an int to Python. numpy's scalars are taken as what they stand for.
    if isinstance(value, (bool, np.bool_)):
        return common_pb2.AttributeValue(bool_value=bool(value))
    if isinstance(value, (int, np.integer)):
        return common_pb2.AttributeValue(int_value=int(value))
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            msg = "an attribute's number must be finite"
            raise ValueError(msg)
        return common_pb2.AttributeValue(double_value=float(value))
    if isinstance(value, str):
        return common_pb2.AttributeValue(string_value=value)
    msg = f"an attribute's value must be a str, int, float or bool, not {type(value).__name__}"
    raise TypeError(msg)


def item_message(item: Item) -> gateway_service_pb2.UpsertItem:
    """Pack an item; reads the file when its image is a path.

    Raises:
        OSError: the file cannot be read.
        ValueError, TypeError, ImportError: as `image_bytes`, `spaced_vector_message` and `attribute_message`.
    """
    message = gateway_service_pb2.UpsertItem(
        id=item.id,
        attributes={name: attribute_message(value) for name, value in item.attributes.items()},
        pair_key=item.pair_key,
        thumbnail=item.thumbnail,
        content_words=item.content_words,
    )
    if item.image is not None:
        message.image = image_bytes(item.image)
    elif item.text is not None:
        message.text = item.text
    elif item.vector is not None:
        message.vector.CopyFrom(spaced_vector_message(item.vector))
    return message


def fit_options_message(options: FitOptions) -> common_pb2.FitOptions:
    """Pack the options of a fit."""
    return common_pb2.FitOptions(
        strength=options.strength,
        dimension=options.dimension,
        by_sigma=options.by_sigma,
        lift=options.lift,
        hubness=options.hubness,
        on_top_of=options.on_top_of,
    )
