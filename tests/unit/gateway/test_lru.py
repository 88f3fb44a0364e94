"""The in-process cache is bounded by bytes and forgets what was not used for longest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.gateway.domain import Row
from isthmus.gateway.lru import RowCache

ROW = Row(bytes(760))  # 1,000 bytes with what an entry takes besides


def test_the_least_recently_used_goes_first() -> None:
    """Reading an entry keeps it; the one not touched for longest is dropped."""
    cache = RowCache(3_000)
    for key in (b"a", b"b", b"c"):
        cache.put(key, ROW)
    assert cache.get(b"a") is ROW
    cache.put(b"d", ROW)
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_nothing_is_kept_without_room() -> None:
    """A size of 0 switches it off."""
    cache = RowCache(0)
    cache.put(b"a", ROW)
    assert (cache.get(b"a"), len(cache), cache.size_bytes) == (None, 0, 0)


def test_a_key_put_twice_counts_once() -> None:
    """Replacing an entry replaces its size."""
    cache = RowCache(10_000)
    cache.put(b"a", ROW)
    cache.put(b"a", ROW)
    assert (len(cache), cache.size_bytes) == (1, 1_000)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2_000), st.booleans()), max_size=60))
def test_the_bound_holds_whatever_comes(steps: list[tuple[int, int, bool]]) -> None:
    """After every step the size is that of the entries, and within the bound."""
    cache = RowCache(5_000)
    for number, size, drop in steps:
        key = bytes([number])
        if drop:
            cache.drop(key)
        else:
            cache.put(key, Row(bytes(size)))
        assert cache.size_bytes <= 5_000
    assert cache.size_bytes == sum(len(row.data) + 240 for row in cache._rows.values())
