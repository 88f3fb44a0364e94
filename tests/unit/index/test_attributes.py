"""Attributes ordered by value: every filter holds for exactly the items that a loop over them would name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.index.attributes import AttributeColumns
from isthmus.index.model import attributes_to_json
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, End, Exists, Filter, NoneOf, OneOf, Prefix
from tests.unit.index.filter_model import AGES, attributes, filters, holds

_LARGE = 2**53


def _columns(documents: list[dict[str, AttributeScalar]]) -> AttributeColumns:
    return AttributeColumns.parse(pa.array(map(attributes_to_json, documents), pa.binary()))


def _held(columns: AttributeColumns, wanted: Filter) -> list[int]:
    mask = columns.mask(wanted)
    assert mask.dtype == np.bool_
    assert mask.shape == (columns.rows,)
    return np.flatnonzero(mask).tolist()


@given(documents=st.lists(attributes, min_size=1, max_size=40), wanted=filters)
def test_a_filter_holds_for_what_a_loop_would_name(documents: list[dict[str, AttributeScalar]], wanted: Filter) -> None:
    """Any filter over any items: missing attributes, mixed types, numbers at the edges of their types, odd texts."""
    assert _held(_columns(documents), wanted) == [row for row, item in enumerate(documents) if holds(wanted, item)]


@given(data=st.data(), sizes=st.lists(st.integers(1, 15), min_size=1, max_size=4), wanted=filters)
def test_merged_columns_are_those_of_the_merged_items(data: Any, sizes: list[int], wanted: Filter) -> None:
    """Columns of several segments without their dead items answer as columns that were read from the items again."""
    parts, left = [], []
    for size in sizes:
        documents = data.draw(st.lists(attributes, min_size=size, max_size=size))
        live = data.draw(st.lists(st.integers(0, size - 1), unique=True).map(sorted))
        parts.append((_columns(documents), np.array(live, dtype=np.int64)))
        left += [documents[row] for row in live]
    merged = AttributeColumns.merged(parts)
    assert merged.rows == len(left)
    assert _held(merged, wanted) == [row for row, item in enumerate(left) if holds(wanted, item)]


@given(values=st.lists(AGES, min_size=1, max_size=20), low=AGES, high=AGES)
@example(values=[_LARGE + 1, float(_LARGE)], low=_LARGE + 1, high=_LARGE + 1)
@example(values=[float(_LARGE), _LARGE - 1], low=_LARGE + 1, high=2**63 - 1)
@example(values=[0.0, -0.0, 0], low=-0.0, high=0)
def test_numbers_compare_by_value_and_exactly(values: list[float], low: float, high: float) -> None:
    """Whole numbers of 64 bits and floats are compared as Python compares them, without rounding one to the other."""
    columns = _columns([{"age": value} for value in values])
    for closed in (True, False):
        wanted = Between("age", End(low, closed), End(high, closed))
        expected = [r for r, v in enumerate(values) if (low <= v <= high if closed else low < v < high)]
        assert _held(columns, wanted) == expected
    assert _held(columns, OneOf("age", (low,))) == [r for r, v in enumerate(values) if v == low]


def test_many_texts_are_looked_up_as_few_are() -> None:
    """A set of 1,000 texts, which takes another way than a small one, holds for the same items."""
    documents: list[dict[str, AttributeScalar]] = [{"name": f"item {number % 700}"} for number in range(1_400)]
    asked = tuple(f"item {number}" for number in range(0, 2_000, 2))
    expected = [row for row in range(1_400) if (row % 700) % 2 == 0]
    assert _held(_columns(documents), OneOf("name", asked)) == expected


@pytest.mark.parametrize("last", ["\x7f", "\ud7ff", "\uffff", "\U0010ffff"])
def test_a_prefix_may_end_with_any_character(last: str) -> None:
    """Also with one that has no successor: nothing is computed from it."""
    texts = ["a", f"a{last}", f"a{last}{last}", f"a{last}b", "b", f"b{last}"]
    columns = _columns([{"name": text} for text in texts])
    assert _held(columns, Prefix("name", f"a{last}")) == [1, 2, 3]


def test_items_without_attributes_cost_nothing() -> None:
    """Where no item has attributes there is no column, and only `NoneOf` holds."""
    columns = _columns([{}, {}])
    assert columns.columns == {}
    assert _held(columns, Exists("name")) == []
    assert _held(columns, NoneOf((Exists("name"),))) == [0, 1]


def test_the_parts_of_a_merge_are_unharmed() -> None:
    """Merging copies: the columns that searches still hold answer as before."""
    columns = _columns([{"name": "a"}, {"name": "b"}])
    before: Mapping[str, Any] = {
        kind: (ordered.values.to_pylist(), ordered.rows.tolist()) for kind, ordered in columns.columns["name"].items()
    }
    AttributeColumns.merged([(columns, np.array([1])), (columns, np.array([0, 1]))])
    assert before == {
        kind: (ordered.values.to_pylist(), ordered.rows.tolist()) for kind, ordered in columns.columns["name"].items()
    }
    assert _held(columns, AnyOf((AllOf((OneOf("name", ("a",)),)), OneOf("name", ("b",))))) == [0, 1]
