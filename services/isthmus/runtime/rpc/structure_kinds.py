"""The kinds of structures to their numbers on the wire and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isthmus.runtime.base.structure_kinds import Kind
from isthmus.runtime.rpc.codec import unknown_enum
from isthmus.v1 import common_pb2

__all__ = ["kind_message", "kind_of"]

_NUMBERS: Final[Mapping[Kind, common_pb2.IndexKind.ValueType]] = {
    Kind.FLAT_FLOAT32: common_pb2.INDEX_KIND_FLAT_FLOAT32,
    Kind.FLAT_FLOAT16: common_pb2.INDEX_KIND_FLAT_FLOAT16,
    Kind.FLAT_SQ8: common_pb2.INDEX_KIND_FLAT_SQ8,
    Kind.IVF_SQ8: common_pb2.INDEX_KIND_IVF_SQ8,
    Kind.HNSW: common_pb2.INDEX_KIND_HNSW,
    Kind.IVF_PQ: common_pb2.INDEX_KIND_IVF_PQ,
}
_KINDS: Final[Mapping[int, Kind]] = {number: kind for kind, number in _NUMBERS.items()}


def kind_message(kind: Kind | None) -> common_pb2.IndexKind.ValueType:
    """Return the number of a kind; that of none where the choice is left to the searchers."""
    return common_pb2.INDEX_KIND_UNSPECIFIED if kind is None else _NUMBERS[kind]


def kind_of(number: int, *, field: str) -> Kind | None:
    """Return the kind of a number; None where the choice is left to the searchers.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE.
    """
    if number == common_pb2.INDEX_KIND_UNSPECIFIED:
        return None
    if number not in _KINDS:
        raise unknown_enum(field)
    return _KINDS[number]
