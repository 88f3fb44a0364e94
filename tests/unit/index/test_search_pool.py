"""The threads of the searcher: works that they share, and what happens to them when one fails or all are busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import numpy as np
import pytest

from isthmus.index import flat
from isthmus.index.search_pool import SearchPool, side_by_side
from tests.unit.index.support import vectors

WAIT_S = 10.0


@pytest.fixture
async def pool() -> AsyncIterator[SearchPool]:
    """Two threads."""
    made = SearchPool(threads=2, queue_count=8)
    yield made
    made.close()


def _meeting(count: int) -> list[Callable[[], str]]:
    """Return works that end only when all of them run at once; each returns the name of its thread."""
    barrier = threading.Barrier(count)

    def meet() -> str:
        barrier.wait(WAIT_S)
        return threading.current_thread().name

    return [meet] * count


async def test_an_idle_thread_helps(pool: SearchPool) -> None:
    """Two works that wait for one another end: two threads are at them, and both are idle afterwards."""
    names = await pool.run(lambda: side_by_side(_meeting(2)))
    assert len(set(names)) == 2
    assert pool.idle_threads == 2


async def test_nobody_waits_for_a_thread_that_is_busy(pool: SearchPool) -> None:
    """While the other thread is held, the asking one does all of its works, in order, and ends."""
    held = threading.Event()
    other = asyncio.ensure_future(pool.run(lambda: held.wait(WAIT_S)))
    done = await pool.run(lambda: side_by_side([partial(int, number) for number in range(50)]))
    assert done == list(range(50))
    assert not other.done()
    held.set()
    assert await other


async def test_works_inside_works_are_shared_too(pool: SearchPool) -> None:
    """Whoever helps may ask for help: nothing waits in a circle."""
    inner = [lambda: side_by_side([partial(int, number) for number in range(20)])] * 20
    assert await pool.run(lambda: side_by_side(inner)) == [list(range(20))] * 20


async def test_an_error_comes_out_when_nothing_runs_any_more(pool: SearchPool) -> None:
    """The caller gets what a work raised, whichever thread it was in, and the pool goes on."""
    running = threading.Semaphore(0)

    def fail() -> bool:
        running.release()
        msg = "broken"
        raise ValueError(msg)

    for works in ([fail, running.acquire], [running.acquire, fail]):
        with pytest.raises(ValueError, match="broken"):
            await pool.run(partial(side_by_side, works))
        assert pool.idle_threads == 2


def test_outside_of_a_pool_works_are_done_in_turn() -> None:
    """Code that searches without a searcher needs no pool."""
    names = side_by_side([lambda: threading.current_thread().name] * 3)
    assert names == [threading.current_thread().name] * 3


async def test_pieces_of_a_product_give_what_the_whole_gives(pool: SearchPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into pieces of 7 rows and shared by two threads, the best of 500 rows are those that brute force finds."""
    monkeypatch.setattr(flat, "_SWEEP_ROWS", 7)
    monkeypatch.setattr(flat, "_GATHER_ROWS", 7)
    rows, queries = vectors(0, 500), vectors(1, 32)
    some = np.arange(0, 500, 3)
    for scores, found in (
        await pool.run(lambda: flat.swept(rows, queries, 10)),
        await pool.run(lambda: flat.gathered(rows, queries, 10, np.arange(500))),
    ):
        exact = queries @ rows.T
        assert (found == np.argsort(-exact, axis=1)[:, :10]).all()
        np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :10], atol=1e-5)
    _, found = await pool.run(lambda: flat.gathered(rows, queries, 10, some))
    assert (found == some[np.argsort(-(queries @ rows[some].T), axis=1)[:, :10]]).all()
