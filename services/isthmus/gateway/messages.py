"""Rows and small values to the messages of `isthmus.v1` and back. Knows the messages, not gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from isthmus.core.modality import Modality
from isthmus.gateway.domain import ROW_COMPONENT_BYTES, ROW_TYPE, AlignerFiles, Collection, Row
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import InternalError, InvalidArgumentError
from isthmus.runtime.rpc.attributes import attribute_message, attribute_value
from isthmus.runtime.rpc.guard import guard_message, guard_terms
from isthmus.runtime.rpc.structure_kinds import kind_message, kind_of
from isthmus.v1 import common_pb2

__all__ = [
    "artefact_message",
    "attribute_values",
    "attributes_message",
    "collection_message",
    "collection_of",
    "modality_message",
    "modality_of",
    "row_data",
    "rows_message",
]

_MODALITIES: Final[Mapping[Modality, common_pb2.Modality.ValueType]] = {
    Modality.IMAGE: common_pb2.MODALITY_IMAGE,
    Modality.TEXT: common_pb2.MODALITY_TEXT,
}


def modality_message(modality: Modality | None) -> common_pb2.Modality.ValueType:
    """Return the wire's name of a modality; None means any."""
    return common_pb2.MODALITY_UNSPECIFIED if modality is None else _MODALITIES[modality]


def modality_of(message: int) -> Modality:
    """Return a modality that a service of ours named.

    Raises:
        InternalError: it named none.
    """
    for modality, number in _MODALITIES.items():
        if number == message:
            return modality
    msg = "a service named an unknown modality"
    raise InternalError(msg)


def rows_message(rows: Sequence[Row], dimension: int) -> common_pb2.Vectors:
    """Pack rows as they are: float16, no conversion."""
    data = rows[0].data if len(rows) == 1 else b"".join([row.data for row in rows])
    return common_pb2.Vectors(data=data, dimension=dimension, type=common_pb2.VECTOR_TYPE_FLOAT16)


def row_data(vectors: common_pb2.Vectors) -> list[bytes]:
    """Unpack the vectors of a service of ours into float16 rows.

    Raises:
        InternalError: the buffer is not a whole number of rows.
    """
    data, dimension = vectors.data, vectors.dimension
    if vectors.type != common_pb2.VECTOR_TYPE_FLOAT16:
        # Canonical vectors hold float16 values only, so nothing is rounded here.
        if len(data) % np.dtype("<f4").itemsize:
            raise _torn()
        with np.errstate(over="ignore"):  # what is not canonical is found by its norm
            data = np.frombuffer(data, dtype="<f4").astype(ROW_TYPE).tobytes()
    size = dimension * ROW_COMPONENT_BYTES
    if (size == 0 and data) or (size and len(data) % size):
        raise _torn()
    return [data[start : start + size] for start in range(0, len(data), size)] if size else []


def _torn() -> InternalError:
    msg = "a service sent vectors that are not a whole number of rows"
    return InternalError(msg)


def attribute_values(messages: Mapping[str, common_pb2.AttributeValue]) -> dict[str, AttributeScalar]:
    """Return attributes as plain values.

    Raises:
        InvalidArgumentError: INVALID_ATTRIBUTES; a value is of no known type, or not finite.
    """
    values: dict[str, AttributeScalar] = {}
    for name, message in messages.items():
        try:
            values[name] = attribute_value(message)
        except ValueError as error:
            msg = f"attributes holds a value that is {error}"
            raise InvalidArgumentError(msg, reason="INVALID_ATTRIBUTES", metadata={"field": "attributes"}) from None
    return values


def attributes_message(values: Mapping[str, AttributeScalar]) -> dict[str, common_pb2.AttributeValue]:
    """Return attributes for the wire."""
    return {name: attribute_message(value) for name, value in values.items()}


def collection_of(message: common_pb2.Collection) -> Collection:
    """Return a collection as the engine knows it."""
    return Collection(
        name=message.name,
        image_space=message.image_space,
        text_space=message.text_space,
        image_dimension=message.image_dimension,
        text_dimension=message.text_dimension,
        aligner=message.aligner,
        store_thumbnails=message.store_thumbnails,
        keyword_search=message.keyword_search,
        revision=message.revision,
        image_count=message.image_count,
        text_count=message.text_count,
        guard=guard_terms(message.guard),
        shadow_aligner=message.shadow_aligner,
        index=kind_of(message.index, field="index"),
    )


def collection_message(collection: Collection) -> common_pb2.Collection:
    """Return a collection for the wire."""
    return common_pb2.Collection(
        name=collection.name,
        image_space=collection.image_space,
        text_space=collection.text_space,
        image_dimension=collection.image_dimension,
        text_dimension=collection.text_dimension,
        aligner=collection.aligner,
        store_thumbnails=collection.store_thumbnails,
        keyword_search=collection.keyword_search,
        revision=collection.revision,
        image_count=collection.image_count,
        text_count=collection.text_count,
        guard=guard_message(collection.guard),
        shadow_aligner=collection.shadow_aligner,
        index=kind_message(collection.index),
    )


def artefact_message(files: AlignerFiles) -> common_pb2.AlignerArtefact:
    """Return an aligner for the wire."""
    return common_pb2.AlignerArtefact(manifest=files.manifest, tensors=files.tensors)
