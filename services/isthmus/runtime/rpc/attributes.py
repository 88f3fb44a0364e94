"""Values of attributes to their message and back."""

from __future__ import annotations

import math

from isthmus.runtime.base.digests import AttributeScalar
from isthmus.v1 import common_pb2

__all__ = ["attribute_message", "attribute_value"]


def attribute_message(value: AttributeScalar) -> common_pb2.AttributeValue:
    """Return a value for the wire."""
    # A bool is an int to Python: it must be asked for first.
    if isinstance(value, bool):
        return common_pb2.AttributeValue(bool_value=value)
    if isinstance(value, int):
        return common_pb2.AttributeValue(int_value=value)
    if isinstance(value, float):
        return common_pb2.AttributeValue(double_value=value)
    return common_pb2.AttributeValue(string_value=value)


def attribute_value(message: common_pb2.AttributeValue) -> AttributeScalar:
    """Return the value of a message.

    Raises:
        ValueError: it is of no known type, or not a finite number; the message says which, without the value.
    """
    kind = message.WhichOneof("kind")
    if kind is None:
        msg = "of no known type"
        raise ValueError(msg)
    value: AttributeScalar = getattr(message, kind)
    if isinstance(value, float) and not math.isfinite(value):
        msg = "not a finite number"
        raise ValueError(msg)
    return value
