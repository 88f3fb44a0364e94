"""Check contents and vectors at the door, before anything is spent on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.gateway.domain import ROW_TYPE, Content, Row
from isthmus.runtime.base.digests import content_digest
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    ResourceExhaustedError,
)
from isthmus.runtime.base.image_header import check_image
from isthmus.runtime.base.limits import CONTENT_WORDS_MAX_COUNT, TEXT_MAX_BYTES, THUMBNAIL_MAX_BYTES

__all__ = [
    "GivenVector",
    "check_thumbnail",
    "check_vector_fits",
    "check_words",
    "image_content",
    "modality_unsupported",
    "space_mismatch",
    "text_content",
    "vector_row",
]


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector that a caller made with an encoder of their own; canonical.

    Attributes:
        modality: What it was made from.
        space: Its raw space, as the caller says.
        row: The vector.
        dimension: Its components.
    """

    modality: Modality
    space: str
    row: Row
    dimension: int


def text_content(text: str) -> Content:
    """Return `text` as content.

    Raises:
        InvalidArgumentError: EMPTY_TEXT.
        ResourceExhaustedError: TEXT_TOO_LONG.
    """
    data = text.encode()
    if len(data) > TEXT_MAX_BYTES:
        msg = f"text has {len(data)} bytes; the limit is {TEXT_MAX_BYTES}"
        raise ResourceExhaustedError(
            msg,
            reason="TEXT_TOO_LONG",
            metadata={"field": "text", "unit": "bytes", "size": str(len(data)), "limit": str(TEXT_MAX_BYTES)},
        )
    if not text.strip():
        msg = f"text is empty or white space; it has {len(data)} bytes"
        raise InvalidArgumentError(msg, reason="EMPTY_TEXT", metadata={"field": "text", "size": str(len(data))})
    return Content(Modality.TEXT, data, content_digest("text", data))


def image_content(data: bytes) -> Content:
    """Return an image file as content; only its header is read.

    Raises:
        IsthmusError: as `check_image`.
    """
    check_image(data)
    return Content(Modality.IMAGE, data, content_digest("image", data))


def vector_row(values: NDArray[np.float32], *, field: str) -> Row:
    """Return a (1, d) vector as a canonical row.

    Raises:
        InvalidArgumentError: INVALID_VECTOR.
    """
    try:
        row = canonical(values)
    except ValueError as error:
        msg = f"{field} of {values.shape[1]} components is not finite or has no direction; leave such items out"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": field}) from error
    return Row(row.astype(ROW_TYPE).tobytes())


def check_thumbnail(thumbnail: bytes) -> bytes:
    """Return `thumbnail` if it is empty, or a small image.

    Raises:
        InvalidArgumentError: INVALID_THUMBNAIL.
    """
    if not thumbnail:
        return thumbnail
    metadata = {"field": "thumbnail", "size": str(len(thumbnail)), "limit": str(THUMBNAIL_MAX_BYTES)}
    if len(thumbnail) > THUMBNAIL_MAX_BYTES:
        msg = f"thumbnail has {len(thumbnail)} bytes; the limit is {THUMBNAIL_MAX_BYTES}"
        raise InvalidArgumentError(msg, reason="INVALID_THUMBNAIL", metadata=metadata)
    try:
        check_image(thumbnail, field="thumbnail")
    except IsthmusError as error:
        raise InvalidArgumentError(error.message, reason="INVALID_THUMBNAIL", metadata=metadata) from error
    return thumbnail


def check_words(words: int, source: Content | GivenVector) -> None:
    """Check a number of words that a caller states: of a text that comes as a vector, and only then.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """
    field = "content_words"
    if isinstance(source, Content) or source.modality is not Modality.TEXT:
        msg = f"{field} belongs to a vector of a text; words of a text itself are counted"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field})
    if words > CONTENT_WORDS_MAX_COUNT:
        msg = f"{field} is {words}; the limit is {CONTENT_WORDS_MAX_COUNT}"
        metadata = {"field": field, "limit": str(CONTENT_WORDS_MAX_COUNT)}
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata=metadata)


def space_mismatch(field: str, *, space: str, expected: str) -> IsthmusError:
    """Return the refusal of a vector or an encoder of another space than the collection's."""
    remedy = "encode with its encoder, or make a collection of the other space"
    msg = f"{field} is of another raw space than the collection's; {remedy}"
    return FailedPreconditionError(
        msg, reason="SPACE_MISMATCH", metadata={"field": field, "space": space, "expected": expected}
    )


def modality_unsupported(modality: Modality) -> IsthmusError:
    """Return the refusal of an item that the collection has no raw space for."""
    msg = f"the collection takes no {modality.value} items"
    return FailedPreconditionError(msg, reason="MODALITY_UNSUPPORTED", metadata={"modality": modality.value})


def check_vector_fits(vector: GivenVector, *, space: str, dimension: int) -> None:
    """Check that a given vector is of a collection's raw space.

    Raises:
        FailedPreconditionError: SPACE_MISMATCH, with both ids.
        InvalidArgumentError: INVALID_VECTOR.
    """
    if vector.space != space:
        field = "vector"
        raise space_mismatch(field, space=vector.space, expected=space)
    if vector.dimension != dimension:
        msg = f"vector has dimension {vector.dimension}; expected {dimension}"
        raise InvalidArgumentError(
            msg,
            reason="INVALID_VECTOR",
            metadata={"field": "vector", "dimension": str(vector.dimension), "expected": str(dimension)},
        )
