"""Filters on the wire: there and back, what is refused, and where the limits lie."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.filters import Between, End, Filter, OneOf
from isthmus.runtime.base.limits import (
    FILTER_DEPTH_MAX_COUNT,
    FILTER_MAX_BYTES,
    FILTER_MAX_COUNT,
    FILTER_VALUES_MAX_COUNT,
)
from isthmus.runtime.rpc.filters import filter_message, filter_of
from isthmus.v1 import common_pb2, filter_pb2
from tests.unit.index.filter_model import filters

_PRESENT = filter_pb2.Filter(exists="price")


def _number(value: float) -> common_pb2.AttributeValue:
    return common_pb2.AttributeValue(double_value=value)


def _text(value: str) -> common_pb2.AttributeValue:
    return common_pb2.AttributeValue(string_value=value)


def _range(**ends: common_pb2.AttributeValue) -> filter_pb2.Filter:
    given_ends: dict[str, Any] = dict(ends)
    return filter_pb2.Filter(range=filter_pb2.AttributeRange(attribute="price", **given_ends))


def _equals(value: common_pb2.AttributeValue | None, attribute: str = "price") -> filter_pb2.Filter:
    return filter_pb2.Filter(equals=filter_pb2.AttributeEquals(attribute=attribute, value=value))


def _all_of(*parts: filter_pb2.Filter) -> filter_pb2.Filter:
    return filter_pb2.Filter(all_of=filter_pb2.FilterList(filters=parts))


@given(wanted=filters)
def test_a_filter_comes_back_as_it_went(wanted: Filter) -> None:
    """Every kind of filter and value, types included, survives its message."""
    back = filter_of(filter_pb2.Filter.FromString(filter_message(wanted).SerializeToString()))
    assert repr(back) == repr(wanted)  # 1, 1.0 and True are equal, and printed differently


def test_one_value_is_a_set_of_one() -> None:
    """`equals` is short for a set, and the ends of a range say by their names whether they belong to it."""
    assert filter_of(_equals(_text("red"))) == OneOf("price", ("red",))
    assert filter_of(_range(greater_than=_number(1), at_most=_number(2))) == Between(
        "price", End(1.0, closed=False), End(2.0, closed=True)
    )


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        (filter_pb2.Filter(), "FIELD_REQUIRED", "filter"),
        (filter_pb2.Filter(exists=""), "FIELD_REQUIRED", "filter.exists"),
        (_all_of(), "FIELD_REQUIRED", "filter.all_of.filters"),
        (_all_of(_PRESENT, filter_pb2.Filter()), "FIELD_REQUIRED", "filter.all_of[1]"),
        (_equals(None), "FIELD_REQUIRED", "filter.equals.value"),
        (_equals(_text("red"), attribute=""), "FIELD_REQUIRED", "filter.equals.attribute"),
        (_equals(common_pb2.AttributeValue()), "INVALID_FIELD", "filter.equals.value"),
        (_equals(_number(float("nan"))), "INVALID_FIELD", "filter.equals.value"),
        (_range(), "FIELD_REQUIRED", "filter.range"),
        (_range(at_least=_number(1), less_than=_text("b")), "INVALID_FIELD", "filter.range"),
        (_range(at_most=_number(float("inf"))), "INVALID_FIELD", "filter.range.at_most"),
        (_range(less_than=common_pb2.AttributeValue(bool_value=True)), "INVALID_FIELD", "filter.range.less_than"),
        (
            filter_pb2.Filter(in_set=filter_pb2.AttributeIn(attribute="price")),
            "FIELD_REQUIRED",
            "filter.in_set.values",
        ),
        (
            filter_pb2.Filter(
                in_set=filter_pb2.AttributeIn(attribute="price", values=[_text("a"), common_pb2.AttributeValue()])
            ),
            "INVALID_FIELD",
            "filter.in_set.values[1]",
        ),
        (
            filter_pb2.Filter(prefix=filter_pb2.AttributePrefix(prefix="a")),
            "FIELD_REQUIRED",
            "filter.prefix.attribute",
        ),
    ],
)
def test_a_wrong_filter_is_refused_where_it_is_wrong(message: filter_pb2.Filter, reason: str, field: str) -> None:
    """The error names the path to what is missing or wrong, and holds no value."""
    with pytest.raises(InvalidArgumentError) as refused:
        filter_of(message)
    assert (refused.value.reason, refused.value.metadata["field"]) == (reason, field)
    assert field in refused.value.message


def _nested(depth: int) -> filter_pb2.Filter:
    message = _PRESENT
    for _ in range(depth - 1):
        message = _all_of(message)
    return message


def _values(count: int) -> filter_pb2.Filter:
    return filter_pb2.Filter(in_set=filter_pb2.AttributeIn(attribute="price", values=[_number(1)] * count))


def _sized(size: int) -> filter_pb2.Filter:
    rest = _equals(_text("x" * size)).ByteSize() - size
    return _equals(_text("x" * (size - rest)))


@pytest.mark.parametrize(
    ("make", "limit", "field", "unit"),
    [
        (_nested, FILTER_DEPTH_MAX_COUNT, "filter", "levels"),
        (lambda count: _all_of(*[_PRESENT] * (count - 1)), FILTER_MAX_COUNT, "filter", "filters"),
        (_values, FILTER_VALUES_MAX_COUNT, "filter.in_set.values", "values"),
        (_sized, FILTER_MAX_BYTES, "filter", "bytes"),
    ],
)
def test_what_is_at_a_limit_is_taken_and_one_more_refused(make: Any, limit: int, field: str, unit: str) -> None:
    """Depth, filters in all, values of a set and bytes; the error names field, limit and size."""
    filter_of(make(limit))
    with pytest.raises(ResourceExhaustedError) as refused:
        filter_of(make(limit + 1))
    assert refused.value.reason == "LIMIT_EXCEEDED"
    assert refused.value.metadata == {"field": field, "limit": str(limit), unit: str(limit + 1)}
