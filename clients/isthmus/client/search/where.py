"""Filters on attributes, written as comparisons: `(F("price") < 10) & F("color").is_in(["red", "blue"])`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from isthmus.client.convert import attribute_message
from isthmus.client.inputs import AttributeValue
from isthmus.v1 import filter_pb2

__all__ = ["F", "Filter"]


@dataclass(frozen=True, slots=True)
class Filter:
    """What must hold of an item's attributes for it to be an answer. Made by `F`, combined by `&`, `|` and `~`."""

    message: filter_pb2.Filter = field(repr=False)
    """As it travels; at most 16 levels, 256 conditions and combinations, and 64 KiB."""

    def __and__(self, other: Filter) -> Filter:
        """Return a filter that holds where both hold."""
        return _combined("all_of", self, other)

    def __or__(self, other: Filter) -> Filter:
        """Return a filter that holds where at least one holds."""
        return _combined("any_of", self, other)

    def __invert__(self) -> Filter:
        """Return a filter that holds where this one does not, items without the attribute included."""
        kind = self.message.WhichOneof("kind")
        if kind == "none_of" and len(self.message.none_of.filters) == 1:
            return Filter(self.message.none_of.filters[0])
        parts = self.message.any_of.filters if kind == "any_of" else [self.message]
        return Filter(filter_pb2.Filter(none_of=filter_pb2.FilterList(filters=parts)))

    def __bool__(self) -> NoReturn:
        msg = "a filter is neither true nor false: combine with & | ~ in place of and, or, not; between() makes a range"
        raise TypeError(msg)


def _combined(kind: Literal["all_of", "any_of"], *filters: Filter) -> Filter:
    """Return one filter of several; what is combined alike already is not nested."""
    parts: list[filter_pb2.Filter] = []
    for given in filters:
        inner: filter_pb2.FilterList = getattr(given.message, kind)
        parts.extend(inner.filters if given.message.HasField(kind) else [given.message])
    combined: dict[str, Any] = {kind: filter_pb2.FilterList(filters=parts)}
    return Filter(filter_pb2.Filter(**combined))


class F:  # noqa: PLW1641 - comparing makes a filter, and there is nothing to hash by
    """An attribute to filter by.

        client.search("shop", text="a chair", where=(F("price") < 100) & ~F("color").is_in(["red", "blue"]))

    Whole and other numbers compare by value, texts by code point. An item without the attribute, or with one of another
    type, matches nothing but a `~` (and `!=`, which is one).

    Args:
        attribute: Its name.

    Raises:
        ValueError: the name is empty.
    """

    __slots__ = ("_attribute",)

    def __init__(self, attribute: str) -> None:
        if not attribute:
            msg = "an attribute's name is not empty"
            raise ValueError(msg)
        self._attribute = attribute

    def __eq__(self, value: AttributeValue) -> Filter:  # type: ignore[override]
        """Hold where the attribute equals `value`."""
        condition = filter_pb2.AttributeEquals(attribute=self._attribute, value=attribute_message(value))
        return Filter(filter_pb2.Filter(equals=condition))

    def __ne__(self, value: AttributeValue) -> Filter:  # type: ignore[override]
        """Hold where the attribute does not equal `value`, or is not there."""
        return ~(self == value)

    def __lt__(self, value: str | float) -> Filter:
        """Hold where the attribute is less than `value`."""
        return self._range(less_than=value)

    def __le__(self, value: str | float) -> Filter:
        """Hold where the attribute is at most `value`."""
        return self._range(at_most=value)

    def __gt__(self, value: str | float) -> Filter:
        """Hold where the attribute is greater than `value`."""
        return self._range(greater_than=value)

    def __ge__(self, value: str | float) -> Filter:
        """Hold where the attribute is at least `value`."""
        return self._range(at_least=value)

    def between(self, low: str | float, high: str | float) -> Filter:
        """Hold where the attribute is at least `low` and at most `high`: two numbers, or two texts.

        Raises:
            ValueError: one is a number and the other one a text.
        """
        if isinstance(low, str) is not isinstance(high, str):
            msg = "the ends of a range are two numbers or two texts"
            raise ValueError(msg)
        return self._range(at_least=low, at_most=high)

    def is_in(self, values: Iterable[AttributeValue]) -> Filter:
        """Hold where the attribute equals one of 1 to 1,000 values, of any types.

        Raises:
            ValueError: a text stands where a list of them belongs, or there is no value.
        """
        if isinstance(values, str):
            msg = "is_in takes a list: is_in([value])"
            raise ValueError(msg)  # noqa: TRY004 - every wrong argument of the client is a ValueError
        messages = [attribute_message(value) for value in values]
        if not messages:
            msg = "is_in takes at least one value"
            raise ValueError(msg)
        return Filter(filter_pb2.Filter(in_set=filter_pb2.AttributeIn(attribute=self._attribute, values=messages)))

    def startswith(self, prefix: str) -> Filter:
        """Hold where the attribute is a text that begins with `prefix`; an empty one begins every text."""
        condition = filter_pb2.AttributePrefix(attribute=self._attribute, prefix=prefix)
        return Filter(filter_pb2.Filter(prefix=condition))

    def exists(self) -> Filter:
        """Hold where the item has the attribute, whatever its value."""
        return Filter(filter_pb2.Filter(exists=self._attribute))

    def __repr__(self) -> str:
        return f"F({self._attribute!r})"

    def _range(self, **ends: str | float) -> Filter:
        condition = filter_pb2.AttributeRange(attribute=self._attribute)
        for name, value in ends.items():
            if isinstance(value, bool):
                msg = "true and false have no order: compare them with =="
                raise ValueError(msg)  # noqa: TRY004 - every wrong argument of the client is a ValueError
            getattr(condition, name).CopyFrom(attribute_message(value))
        return Filter(filter_pb2.Filter(range=condition))
