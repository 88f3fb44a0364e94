"""The checker of histories: it explains what can be explained, and finds what is wrong with six broken ones."""

from __future__ import annotations

import math

import pytest

from tests.harness.register_history import Operation, unexplained_items


def _write(value: int | None, begin: float, end: float = math.inf) -> Operation:
    return Operation("x", "write", value, begin, end)


def _read(value: int | None, begin: float, end: float) -> Operation:
    return Operation("x", "read", value, begin, end)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([], id="nothing"),
        pytest.param([_read(None, 0, 1), _write(1, 2, 3), _read(1, 4, 5)], id="one after the other"),
        pytest.param([_write(1, 0, 3), _read(None, 1, 2), _read(1, 4, 5)], id="a read beside a write sees it or not"),
        pytest.param([_write(1, 0, 5), _read(1, 1, 2)], id="a read sees a write that has not ended"),
        pytest.param([_write(1, 0, 4), _write(2, 1, 3), _read(1, 5, 6)], id="writes side by side in either order"),
        pytest.param([_write(1, 0, 1), _write(2, 2), _read(1, 3, 4), _read(2, 5, 6)], id="a failed write comes late"),
        pytest.param([_write(1, 0, 1), _write(2, 2), _read(1, 3, 4)], id="a failed write never comes"),
        pytest.param([_write(1, 0, 1), _write(None, 2, 3), _read(None, 4, 5)], id="a deletion"),
    ],
)
def test_a_history_that_some_order_explains_is_accepted(history: list[Operation]) -> None:
    """Overlapping calls may have happened in any order, failed ones at any time or never."""
    assert unexplained_items(history) == []


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([_write(1, 0, 1), _read(None, 2, 3)], id="an acknowledged write is lost"),
        pytest.param([_write(1, 0, 1), _write(2, 2, 3), _read(1, 4, 5)], id="a read is stale"),
        pytest.param([_write(1, 0, 1), _write(2, 2), _read(2, 3, 4), _read(1, 5, 6)], id="a value goes back"),
        pytest.param([_write(1, 0, 1), _write(None, 2, 3), _read(1, 4, 5)], id="what was deleted comes back"),
        pytest.param([_read(7, 0, 1), _write(7, 2, 3)], id="a value is read before it is written"),
        pytest.param([_write(1, 0, 1), _read(9, 2, 3)], id="a value is read that nobody wrote"),
    ],
)
def test_a_broken_history_is_found(history: list[Operation]) -> None:
    """Each is broken in one way, and would be accepted by a checker that lacks one of its rules."""
    assert unexplained_items(history) == ["x"]


def test_only_the_items_whose_history_is_broken_are_named() -> None:
    """Items are judged one by one: each is a register of its own."""
    whole = [Operation("a", "write", 1, 0, 1), Operation("a", "read", 1, 2, 3)]
    broken = [Operation("b", "write", 1, 0, 1), Operation("b", "read", None, 2, 3)]
    assert unexplained_items(whole + broken) == ["b"]
