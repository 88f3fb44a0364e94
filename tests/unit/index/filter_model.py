"""What a filter means, as a loop over dictionaries, and random filters and items that meet often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from hypothesis import strategies as st

from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, End, Exists, Filter, NoneOf, OneOf, Prefix

_TEXTS = ["", "a", "ab", "abc", "b", "Ä", "ä", "z\uffff", "z\U0010ffff", "1"]

AGES = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, -(2**53) - 1]),
    st.sampled_from([-1.5, -0.0, 0.5, 2.0, float(2**53), 2.0**63, -(2.0**70), 1e300]),
    st.floats(allow_nan=False, allow_infinity=False),
)
"""Numbers, many of them equal to one of the other type or beside the limit of one."""

_names = st.sampled_from(["age", "name", "seen", "x"])
_texts = st.one_of(st.sampled_from(_TEXTS), st.text(max_size=3))
_values: st.SearchStrategy[AttributeScalar] = st.one_of(AGES, _texts, st.booleans())

attributes: st.SearchStrategy[dict[str, AttributeScalar]] = st.dictionaries(_names, _values, max_size=4)
"""Attributes of an item: one name holds values of any type."""


def _ends(values: st.SearchStrategy[str] | st.SearchStrategy[float]) -> st.SearchStrategy[End | None]:
    return st.one_of(st.none(), st.builds(End, values, st.booleans()))


def _between(values: st.SearchStrategy[str] | st.SearchStrategy[float]) -> st.SearchStrategy[Between]:
    ends = st.builds(Between, _names, _ends(values), _ends(values))
    return ends.filter(lambda wanted: wanted.low is not None or wanted.high is not None)


_conditions: st.SearchStrategy[Filter] = st.one_of(
    st.builds(OneOf, _names, st.lists(_values, min_size=1, max_size=4).map(tuple)),
    _between(AGES),
    _between(_texts),
    st.builds(Prefix, _names, _texts),
    st.builds(Exists, _names),
)


def _combined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(st.builds(AllOf, several), st.builds(AnyOf, several), st.builds(NoneOf, several))


filters: st.SearchStrategy[Filter] = st.recursive(_conditions, _combined, max_leaves=8)
"""Conditions on the `attributes`, combined."""


def holds(wanted: Filter, attributes: Mapping[str, AttributeScalar]) -> bool:  # noqa: PLR0911 - one a kind
    """Return whether a filter holds for an item: the specification, one line a kind."""
    match wanted:
        case AllOf(parts):
            return all(holds(part, attributes) for part in parts)
        case AnyOf(parts):
            return any(holds(part, attributes) for part in parts)
        case NoneOf(parts):
            return not any(holds(part, attributes) for part in parts)
        case Exists(name):
            return name in attributes
        case OneOf(name, values):
            return name in attributes and any(_alike(attributes[name], v) and attributes[name] == v for v in values)
        case Prefix(name, prefix):
            value = attributes.get(name)
            return isinstance(value, str) and value.startswith(prefix)
        case Between(name, low, high):
            value = attributes.get(name)
            return value is not None and _above(value, low) and _below(value, high)
        case _:
            assert_never(wanted)


def _above(value: AttributeScalar, low: End | None) -> bool:
    if low is None:
        return True
    if not _alike(value, low.value):
        return False
    return value > low.value or (low.closed and value == low.value)  # type: ignore[operator]


def _below(value: AttributeScalar, high: End | None) -> bool:
    if high is None:
        return True
    if not _alike(value, high.value):
        return False
    return value < high.value or (high.closed and value == high.value)  # type: ignore[operator]


def _alike(one: AttributeScalar, other: AttributeScalar) -> bool:
    """Return whether two values are of one type: texts, booleans, or numbers of either sort."""

    def kind(value: AttributeScalar) -> type:
        return float if isinstance(value, int) and not isinstance(value, bool) else type(value)

    return kind(one) is kind(other)
