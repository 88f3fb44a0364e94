"""The attributes of a segment's items, ordered by value: what a filter is looked up in. Immutable.

Every condition on one attribute is a run of its ordered values, found by bisection, whatever the number of items. An
attribute that few items have costs only these.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, Exists, Filter, NoneOf, OneOf, Prefix
from isthmus.runtime.base.limits import RESERVED_ATTRIBUTE_PREFIX

__all__ = ["AttributeColumns"]

_PARSE_ROWS: Final = 512
"""Items parsed at once, a millisecond or less: other threads get their turn in between."""
_NONE: Final = b"{}"
_BISECT_MAX_COUNT: Final = 64
"""Texts that are looked up one by one, about 20 microseconds each; for more, one pass over all values is quicker."""

Kind: TypeAlias = Literal["bool", "int", "float", "str"]
Values: TypeAlias = Any
"""(n,) uint8, int64 or float64 of numpy, or a string array of Arrow."""

_KINDS: Final[Mapping[type, Kind]] = {bool: "bool", int: "int", float: "float", str: "str"}
_DTYPES: Final[Mapping[Kind, Any]] = {"bool": np.uint8, "int": np.int64, "float": np.float64}


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The values of one kind that one attribute has.

    Attributes:
        values: (v,) distinct, ascending.
        starts: (v + 1,) int32; the items of value i are `rows[starts[i]:starts[i + 1]]`.
        rows: (n,) int32 rows of the segment, ascending for each value.
    """

    values: Values
    starts: NDArray[np.int32]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, kind: Kind, values: Values, rows: NDArray[np.int32]) -> Self:
        """Order values.

        Args:
            kind: Theirs.
            values: (n,) n at least 1.
            rows: (n,) their rows, ascending.
        """
        if kind == "str":
            encoded = values.dictionary_encode()
            order = pc.sort_indices(encoded.dictionary)
            distinct = encoded.dictionary.take(order)
            ranks = np.empty(len(distinct), dtype=np.int32)
            ranks[order.to_numpy()] = np.arange(len(distinct))
            codes = ranks[encoded.indices.to_numpy()]
        else:
            distinct, codes = np.unique(values, return_inverse=True)
        starts = np.zeros(len(distinct) + 1, dtype=np.int32)
        np.cumsum(np.bincount(codes, minlength=len(distinct)), out=starts[1:])
        return cls(distinct, starts, rows[np.argsort(codes, kind="stable")])

    def mark(self, mask: NDArray[np.bool_], first: int, end: int) -> None:
        """Set `mask` at the rows of values number `first` to `end`, the last excluded."""
        if first < end:
            mask[self.rows[self.starts[first] : self.starts[end]]] = True

    def moved(self, to: NDArray[np.int32]) -> tuple[Values, NDArray[np.int32]]:
        """Return a value and its new row for each item that stays.

        Args:
            to: (rows of the segment,) new rows, -1 for an item that does not stay.
        """
        rows = to[self.rows]
        stays = rows >= 0
        places = np.repeat(np.arange(len(self.values), dtype=np.int32), np.diff(self.starts))[stays]
        values = self.values.take(pa.array(places)) if isinstance(self.values, pa.Array) else self.values[places]
        return values, rows[stays]


@dataclass(frozen=True, slots=True)
class AttributeColumns:
    """The attributes of a segment's items.

    Attributes:
        rows: Items of the segment.
        columns: By attribute and kind of value.
    """

    rows: int
    columns: Mapping[str, Mapping[Kind, _Ordered]]

    @classmethod
    def parse(cls, attributes: pa.BinaryArray) -> Self:
        """Read attributes as the store keeps them, one JSON object an item."""
        found: defaultdict[tuple[str, Kind], tuple[list[int], list[AttributeScalar]]] = defaultdict(lambda: ([], []))
        filled = np.flatnonzero(pc.not_equal(attributes, _NONE).to_numpy(zero_copy_only=False))
        for start in range(0, len(filled), _PARSE_ROWS):
            part = filled[start : start + _PARSE_ROWS]
            documents = attributes.take(pa.array(part)).to_pylist()
            for row, items in zip(part.tolist(), json.loads(b"[%b]" % b",".join(documents)), strict=True):
                for name, value in items.items():
                    if name.startswith(RESERVED_ATTRIBUTE_PREFIX):
                        continue
                    rows, values = found[name, _KINDS[type(value)]]
                    rows.append(row)
                    values.append(value)
        columns: defaultdict[str, dict[Kind, _Ordered]] = defaultdict(dict)
        for (name, kind), (rows, values) in found.items():
            typed = pa.array(values, pa.string()) if kind == "str" else np.array(values, dtype=_DTYPES[kind])
            columns[name][kind] = _Ordered.of(kind, typed, np.array(rows, dtype=np.int32))
        return cls(len(attributes), dict(columns))

    @classmethod
    def merged(cls, parts: Sequence[tuple[Self, NDArray[np.int64]]]) -> Self:
        """Return the attributes of some items of several segments, one segment after the other.

        Args:
            parts: Columns, and the rows of theirs that stay, ascending.
        """
        found: defaultdict[tuple[str, Kind], list[tuple[Values, NDArray[np.int32]]]] = defaultdict(list)
        offset = 0
        for part, live in parts:
            to = np.full(part.rows, -1, dtype=np.int32)
            to[live] = np.arange(offset, offset + len(live))
            offset += len(live)
            for name, kinds in part.columns.items():
                for kind, ordered in kinds.items():
                    found[name, kind].append(ordered.moved(to))
        columns: defaultdict[str, dict[Kind, _Ordered]] = defaultdict(dict)
        for (name, kind), moved in found.items():
            rows = np.concatenate([rows for _, rows in moved])
            if len(rows):
                order = np.argsort(rows)
                every = [values for values, _ in moved]
                values = (
                    pa.concat_arrays(every).take(pa.array(order)) if kind == "str" else np.concatenate(every)[order]
                )
                columns[name][kind] = _Ordered.of(kind, values, rows[order])
        return cls(offset, dict(columns))

    def distinct(self, attribute: str, live: NDArray[np.bool_] | None) -> Iterator[AttributeScalar]:
        """Yield the different values that items have of an attribute.

        Args:
            attribute: Its name.
            live: (rows,) the items that count; None for all of them.
        """
        for kind, ordered in self.columns.get(attribute, {}).items():
            for place, (first, end) in enumerate(itertools.pairwise(ordered.starts.tolist())):
                if live is None or live[ordered.rows[first:end]].any():
                    value = ordered.values[place]
                    yield value.as_py() if kind == "str" else bool(value) if kind == "bool" else value.item()

    def mask(self, wanted: Filter) -> NDArray[np.bool_]:
        """Return which items a filter holds for, (rows,) bool."""
        match wanted:
            case AllOf(filters):
                return functools.reduce(np.logical_and, map(self.mask, filters))
            case AnyOf(filters):
                return functools.reduce(np.logical_or, map(self.mask, filters))
            case NoneOf(filters):
                return ~functools.reduce(np.logical_or, map(self.mask, filters))
        mask = np.zeros(self.rows, dtype=np.bool_)
        for kind, ordered in self.columns.get(wanted.attribute, {}).items():
            for first, end in _runs(kind, ordered.values, wanted):
                ordered.mark(mask, first, end)
        return mask


def _runs(kind: Kind, values: Values, wanted: OneOf | Between | Prefix | Exists) -> Iterator[tuple[int, int]]:
    """Yield the runs of ordered values that match, as first and end."""
    match wanted:
        case Exists():
            yield 0, len(values)
        case Prefix(_, prefix):
            if kind == "str":
                yield _bisect(values, prefix, right=False), _bisect(values, prefix, right=True, length=len(prefix))
        case OneOf(_, asked):
            comparable = [value for value in asked if _comparable(kind, value)]
            if kind == "str" and len(comparable) > _BISECT_MAX_COUNT:
                for place in np.flatnonzero(pc.is_in(values, value_set=pa.array(comparable, pa.string()))).tolist():
                    yield place, place + 1
            else:
                for value in comparable:
                    yield _place(values, value, after=False), _place(values, value, after=True)
        case Between(_, low, high):
            if all(end is None or _comparable(kind, end.value) for end in (low, high)):
                first = 0 if low is None else _place(values, low.value, after=not low.closed)
                yield first, len(values) if high is None else _place(values, high.value, after=high.closed)


def _comparable(kind: Kind, value: AttributeScalar) -> bool:
    asked = _KINDS[type(value)]
    return asked == kind or {asked, kind} == {"int", "float"}


def _place(values: Values, value: AttributeScalar, *, after: bool) -> int:
    """Return how many of ascending values are less than `value`, or with `after`, not greater; exactly."""
    if isinstance(value, str):
        return _bisect(values, value, right=after)
    if values.dtype == np.float64:
        near = float(value)
        # A whole number of more than 53 bits may not be a float64: it lies beside the one that is near it.
        return int(np.searchsorted(values, near, side="right" if near < value or (near == value and after) else "left"))
    # Whole numbers are less than `value` when they are less than its ceiling, not greater when less than the next one.
    bound = math.floor(value) + 1 if after else math.ceil(value)
    limits = np.iinfo(values.dtype)
    if not limits.min <= bound <= limits.max:
        return 0 if bound < 0 else len(values)
    return int(np.searchsorted(values, bound, side="left"))


def _bisect(values: pa.StringArray, text: str, *, right: bool, length: int | None = None) -> int:
    """Return the place of a text among ascending ones, of which the first `length` characters count."""
    find = bisect.bisect_right if right else bisect.bisect_left
    return find(range(len(values)), text, key=lambda place: values[place].as_py()[:length])
