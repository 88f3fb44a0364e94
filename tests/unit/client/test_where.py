"""Filters as a caller writes them: what each operator means, and what is refused before anything is sent."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest

from isthmus.client import F, Filter
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, End, Exists, NoneOf, OneOf, Prefix
from isthmus.runtime.base.limits import FILTER_MAX_COUNT
from isthmus.runtime.rpc.filters import filter_of

_RED = OneOf("color", ("red",))
_BIG = OneOf("big", (True,))


def _meaning(written: Filter) -> Any:
    return filter_of(written.message)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        (F("color") == "red", _RED),
        ("red" == F("color"), _RED),  # noqa: SIM300 - the other way round is the subject
        (F("color") != "red", NoneOf((_RED,))),
        (F("price") < 10, Between("price", None, End(10, closed=False))),
        (F("price") <= 10, Between("price", None, End(10, closed=True))),
        (F("price") > 1.5, Between("price", End(1.5, closed=False), None)),
        (10 <= F("price"), Between("price", End(10, closed=True), None)),  # noqa: SIM300 - as above
        (F("day").between("2026-01", "2026-02"), Between("day", End("2026-01", True), End("2026-02", True))),
        (F("price") < np.float32(0.5), Between("price", None, End(0.5, closed=False))),
        (F("color").is_in(name for name in ("red", "blue")), OneOf("color", ("red", "blue"))),
        (F("any").is_in([1, 1.0, True, "1"]), OneOf("any", (1, 1.0, True, "1"))),
        (F("name").startswith("a"), Prefix("name", "a")),
        (F("name").exists(), Exists("name")),
        ((F("color") == "red") & (F("big") == True), AllOf((_RED, _BIG))),  # noqa: E712 - a value, not a truth
        ((F("color") == "red") | (F("big") == True), AnyOf((_RED, _BIG))),  # noqa: E712
        (~((F("color") == "red") | (F("big") == True)), NoneOf((_RED, _BIG))),  # noqa: E712
        (~~(F("color") == "red"), _RED),
        (~((F("color") == "red") & (F("big") == True)), NoneOf((AllOf((_RED, _BIG)),))),  # noqa: E712
    ],
)
def test_comparisons_make_filters(written: Filter, meaning: object) -> None:
    """Each operator and method is one condition; & | ~ combine; types are kept."""
    assert repr(_meaning(written)) == repr(meaning)


def test_a_long_chain_is_one_level() -> None:
    """Two hundred alternatives joined by | lie side by side: no nesting limit is met."""
    written = F("price") == 0
    for number in range(1, FILTER_MAX_COUNT - 1):
        written |= F("price") == number
    assert len(_meaning(written).filters) == FILTER_MAX_COUNT - 1


def test_combining_does_not_change_the_parts() -> None:
    """A filter that went into another one still means what it meant."""
    red, big = F("color") == "red", F("big") == True  # noqa: E712
    both = red & big
    assert (both & red) != both
    assert [_meaning(part) for part in (red, big, both)] == [_RED, _BIG, AllOf((_RED, _BIG))]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: (F("price") > 1) and (F("price") < 10),
        lambda: 1 < F("price") < 10,
        lambda: not F("price").exists(),
        lambda: F("price") == None,  # noqa: E711
        lambda: F("price") < cast("Any", [1]),
        lambda: F("color").is_in(cast("Any", [("red",)])),
    ],
)
def test_what_would_mean_something_else_is_a_type_error(wrong: Any) -> None:
    """`and`, `or`, `not` and a chained comparison would drop half of the filter without a word."""
    with pytest.raises(TypeError):
        wrong()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: F(""),
        lambda: F("big") < True,
        lambda: F("price") < -math.inf,
        lambda: F("price") == 2**63,
        lambda: F("price").between(1, "b"),
        lambda: F("color").is_in([]),
        lambda: F("color").is_in("red"),
    ],
)
def test_what_cannot_be_asked_is_a_value_error(wrong: Any) -> None:
    """A wrong filter is refused here, where it is written."""
    with pytest.raises(ValueError, match=r"."):
        wrong()
