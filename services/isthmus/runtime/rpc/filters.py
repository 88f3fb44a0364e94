"""Filters to their message and back. What comes from the wire is checked here; errors point into the filter."""

from __future__ import annotations

from typing import Any, Final, NoReturn, assert_never

from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, End, Exists, Filter, NoneOf, OneOf, Prefix
from isthmus.runtime.base.limits import (
    FILTER_DEPTH_MAX_COUNT,
    FILTER_MAX_BYTES,
    FILTER_MAX_COUNT,
    FILTER_VALUES_MAX_COUNT,
)
from isthmus.runtime.rpc.attributes import attribute_message, attribute_value
from isthmus.v1 import filter_pb2

__all__ = ["filter_message", "filter_of"]

_COMBINATIONS: Final[dict[str, type[AllOf | AnyOf | NoneOf]]] = {"all_of": AllOf, "any_of": AnyOf, "none_of": NoneOf}
_NAMES: Final = {combination: name for name, combination in _COMBINATIONS.items()}
_FIELD: Final = "filter"


def filter_of(message: filter_pb2.Filter) -> Filter:
    """Return a filter.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED; something in it is not set. INVALID_FIELD; a value is of no known type or
            not finite, or the ends of a range are of two types or booleans. `metadata.field` is the path to it.
        ResourceExhaustedError: LIMIT_EXCEEDED; it is too large, too deep, or holds too many filters or values.
    """
    _check_limit(message.ByteSize(), FILTER_MAX_BYTES, path=_FIELD, unit="bytes")
    return _Reader().read(message, _FIELD, depth=1)


class _Reader:
    """Reads one filter, and counts what is in it."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, message: filter_pb2.Filter, path: str, *, depth: int) -> Filter:
        self._count += 1
        _check_limit(self._count, FILTER_MAX_COUNT, path=_FIELD, unit="filters")
        _check_limit(depth, FILTER_DEPTH_MAX_COUNT, path=_FIELD, unit="levels")
        kind = message.WhichOneof("kind")
        if kind is None:
            _required(path)
        path = f"{path}.{kind}"
        if kind == "equals":
            value = _value(message.equals, "value", path)
            return OneOf(_attribute(message.equals.attribute, path), (value,))
        if kind == "in_set":
            return _one_of(message.in_set, path)
        if kind == "range":
            return _between(message.range, path)
        if kind == "prefix":
            return Prefix(_attribute(message.prefix.attribute, path), message.prefix.prefix)
        if kind == "exists":
            return Exists(message.exists or _required(path))
        inner: filter_pb2.FilterList = getattr(message, kind)
        if not inner.filters:
            _required(f"{path}.filters")
        parts = (self.read(part, f"{path}[{place}]", depth=depth + 1) for place, part in enumerate(inner.filters))
        return _COMBINATIONS[kind](tuple(parts))


def _attribute(name: str, path: str) -> str:
    return name or _required(f"{path}.attribute")


def _one_of(message: filter_pb2.AttributeIn, path: str) -> OneOf:
    field = f"{path}.values"
    if not message.values:
        _required(field)
    _check_limit(len(message.values), FILTER_VALUES_MAX_COUNT, path=field, unit="values")
    values = []
    for place, entry in enumerate(message.values):
        try:
            values.append(attribute_value(entry))
        except ValueError as error:
            _refuse(f"{field}[{place}]", str(error))
    return OneOf(_attribute(message.attribute, path), tuple(values))


def _between(message: filter_pb2.AttributeRange, path: str) -> Between:
    low, high = message.WhichOneof("lower"), message.WhichOneof("upper")
    if low is None and high is None:
        _required(path)
    ends = [None if name is None else _end(message, name, path) for name in (low, high)]
    if len({isinstance(end.value, str) for end in ends if end is not None}) > 1:
        _refuse(path, "a range from a number to a text")
    return Between(_attribute(message.attribute, path), *ends)


def _end(message: filter_pb2.AttributeRange, name: str, path: str) -> End:
    value = _value(message, name, path)
    if isinstance(value, bool):
        _refuse(f"{path}.{name}", "a boolean, and has no order")
    return End(value, closed=name in {"at_least", "at_most"})


def _value(message: filter_pb2.AttributeEquals | filter_pb2.AttributeRange, name: str, path: str) -> AttributeScalar:
    if not message.HasField(name):  # type: ignore[arg-type]
        _required(f"{path}.{name}")
    try:
        return attribute_value(getattr(message, name))
    except ValueError as error:
        _refuse(f"{path}.{name}", str(error))


def _required(path: str) -> NoReturn:
    msg = f"{path} is required"
    raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": path})


def _refuse(path: str, problem: str) -> NoReturn:
    msg = f"{path} is {problem}"
    raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": path})


def _check_limit(size: int, limit: int, *, path: str, unit: str) -> None:
    if size > limit:
        msg = f"{path} has {size} {unit}; the limit is {limit}"
        metadata = {"field": path, "limit": str(limit), unit: str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)


def filter_message(wanted: Filter) -> filter_pb2.Filter:
    """Return a filter for the wire."""
    match wanted:
        case OneOf(attribute, values):
            messages = [attribute_message(value) for value in values]
            return filter_pb2.Filter(in_set=filter_pb2.AttributeIn(attribute=attribute, values=messages))
        case Between():
            return filter_pb2.Filter(range=_range_message(wanted))
        case Prefix(attribute, prefix):
            return filter_pb2.Filter(prefix=filter_pb2.AttributePrefix(attribute=attribute, prefix=prefix))
        case Exists(attribute):
            return filter_pb2.Filter(exists=attribute)
        case AllOf(filters) | AnyOf(filters) | NoneOf(filters):
            inner = filter_pb2.FilterList(filters=map(filter_message, filters))
            combined: dict[str, Any] = {_NAMES[type(wanted)]: inner}
            return filter_pb2.Filter(**combined)
        case _:
            assert_never(wanted)


def _range_message(wanted: Between) -> filter_pb2.AttributeRange:
    message = filter_pb2.AttributeRange(attribute=wanted.attribute)
    for end, names in ((wanted.low, ("greater_than", "at_least")), (wanted.high, ("less_than", "at_most"))):
        if end is not None:
            getattr(message, names[end.closed]).CopyFrom(attribute_message(end.value))
    return message
