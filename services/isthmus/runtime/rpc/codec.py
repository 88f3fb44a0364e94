"""Arrays and errors to the wire and back. Everything from the wire is checked here before an array is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import DIMENSION_MAX_COUNT
from isthmus.v1 import common_pb2

__all__ = ["check_modality", "decode_vectors", "encode_vectors", "unknown_enum"]

_DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    common_pb2.VECTOR_TYPE_UNSPECIFIED: np.dtype("<f4"),
    common_pb2.VECTOR_TYPE_FLOAT32: np.dtype("<f4"),
    common_pb2.VECTOR_TYPE_FLOAT16: np.dtype("<f2"),
}


def encode_vectors(vectors: NDArray[np.float32], *, half: bool = False) -> common_pb2.Vectors:
    """Pack rows into one buffer.

    Args:
        vectors: (n, d) float32.
        half: Send float16: exact for canonical embeddings, half the bytes.
    """
    kind = common_pb2.VECTOR_TYPE_FLOAT16 if half else common_pb2.VECTOR_TYPE_FLOAT32
    data = np.ascontiguousarray(vectors, dtype=_DTYPES[kind]).tobytes()
    return common_pb2.Vectors(data=data, dimension=vectors.shape[1], type=kind)


def decode_vectors(
    message: common_pb2.Vectors, *, field: str, max_rows: int, dimension: int | None = None
) -> NDArray[np.float32]:
    """Unpack rows.

    Args:
        message: From the wire.
        field: Its name, for messages.
        max_rows: Rows allowed.
        dimension: The dimension it must have, if that is known.

    Returns:
        (n, d) float32, n >= 1; finiteness and norm are not checked here.

    Raises:
        InvalidArgumentError: INVALID_VECTOR or UNKNOWN_ENUM_VALUE.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    dtype = _DTYPES.get(message.type)
    if dtype is None:
        type_field = f"{field}.type"
        raise unknown_enum(type_field)
    wanted = dimension if dimension is not None else message.dimension
    if not 1 <= message.dimension <= DIMENSION_MAX_COUNT or message.dimension != wanted:
        msg = f"{field} has dimension {message.dimension}; expected {dimension or f'1 to {DIMENSION_MAX_COUNT}'}"
        raise InvalidArgumentError(
            msg,
            reason="INVALID_VECTOR",
            metadata={"field": field, "dimension": str(message.dimension), "expected": str(wanted)},
        )
    row_bytes = message.dimension * dtype.itemsize
    rows, rest = divmod(len(message.data), row_bytes)
    if rest or not rows:
        msg = f"{field} holds {len(message.data)} bytes, not a positive multiple of {row_bytes}"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": field, "row_bytes": str(row_bytes)})
    if rows > max_rows:
        msg = f"{field} holds {rows} rows; the limit is {max_rows}"
        raise ResourceExhaustedError(
            msg, reason="BATCH_TOO_LARGE", metadata={"field": field, "limit": str(max_rows), "count": str(rows)}
        )
    return np.frombuffer(message.data, dtype=dtype).astype(np.float32).reshape(rows, message.dimension)


def unknown_enum(field: str) -> IsthmusError:
    """Return the error for an enum number this server does not know."""
    msg = f"{field} holds an unknown value"
    return InvalidArgumentError(msg, reason="UNKNOWN_ENUM_VALUE", metadata={"field": field})


def check_modality(modality: int, *, field: str, allow_any: bool = False) -> common_pb2.Modality.ValueType:
    """Return `modality` if it is IMAGE or TEXT, or unset where that means "any".

    Raises:
        InvalidArgumentError: FIELD_REQUIRED or UNKNOWN_ENUM_VALUE.
    """
    if modality == common_pb2.MODALITY_UNSPECIFIED:
        if allow_any:
            return common_pb2.MODALITY_UNSPECIFIED
        msg = f"{field} is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": field})
    if modality not in (common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT):
        raise unknown_enum(field)
    return common_pb2.MODALITY_IMAGE if modality == common_pb2.MODALITY_IMAGE else common_pb2.MODALITY_TEXT
