"""Vectors that callers made, in canonical form: those of a request all at once, which is several times as quick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.core.canonical import canonical
from isthmus.gateway.domain import ROW_TYPE, Row
from isthmus.gateway.messages import modality_of
from isthmus.gateway.validation import GivenVector, vector_row
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.names import check_space
from isthmus.runtime.rpc.codec import check_modality, decode_vectors
from isthmus.v1 import gateway_service_pb2

__all__ = ["given_vector", "given_vectors"]


def given_vector(message: gateway_service_pb2.SpacedVector, *, field: str = "vector") -> GivenVector:
    """Return a vector that a caller made, canonical.

    Raises:
        InvalidArgumentError: INVALID_VECTOR, FIELD_REQUIRED, UNKNOWN_ENUM_VALUE or INVALID_FIELD.
    """
    (vector,) = given_vectors([message], field=field)
    if isinstance(vector, IsthmusError):
        raise vector
    return vector


def given_vectors(
    messages: Sequence[gateway_service_pb2.SpacedVector], *, field: str = "vector"
) -> list[GivenVector | IsthmusError]:
    """Return each vector, or what is wrong with it; the errors are those of `given_vector`."""
    found: list[GivenVector | IsthmusError | None] = [None] * len(messages)
    by_dimension: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    for position, message in enumerate(messages):
        try:
            modality_of(check_modality(message.modality, field=f"{field}.modality"))
            check_space(message.space, field=f"{field}.space")
            values = decode_vectors(message.vector, field=f"{field}.vector", max_rows=1)
        except IsthmusError as error:
            found[position] = error
        else:
            by_dimension.setdefault(values.shape[1], []).append((position, values))
    for dimension, members in by_dimension.items():
        rows = _rows([values for _, values in members], field=f"{field}.vector")
        for (position, _), row in zip(members, rows, strict=True):
            message = messages[position]
            found[position] = (
                row
                if isinstance(row, IsthmusError)
                else GivenVector(modality_of(message.modality), message.space, row, dimension)
            )
    return [vector for vector in found if vector is not None]


def _rows(vectors: Sequence[NDArray[np.float32]], *, field: str) -> list[Row | IsthmusError]:
    try:
        together = canonical(np.concatenate(vectors)).astype(ROW_TYPE)
    except ValueError:  # it names the first that is wrong; each of the others is as good as alone
        return [_row(values, field=field) for values in vectors]
    return [Row(row.tobytes()) for row in together]


def _row(values: NDArray[np.float32], *, field: str) -> Row | IsthmusError:
    try:
        return vector_row(values, field=field)
    except IsthmusError as error:
        return error
