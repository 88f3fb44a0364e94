"""A writer's turn: one taking for all that wait, deadlines kept, and a rest after a loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.index.catalog import StorePaths
from isthmus.index.epoch import WriterEpoch
from isthmus.index.superseded import SupersededError
from isthmus.index.turn import WriterTurn
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import DeadlineExceededError, UnavailableError


class Store:
    """A store that takes as long to be taken as the test wants."""

    def __init__(self, folder: Path) -> None:
        self._paths = StorePaths(str(folder / "store"))
        self.open = asyncio.Event()
        self.open.set()
        self.takings = 0
        self.fails = False

    async def take(self) -> WriterEpoch:
        """Take it."""
        self.takings += 1
        await self.open.wait()
        if self.fails:
            msg = "the store cannot be reached"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE")
        return self.taken()

    def taken(self) -> WriterEpoch:
        """Take it at once, as another writer does."""
        return WriterEpoch.take(self._paths, durable=False, keep_versions_s=300.0)


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """An empty one."""
    return Store(tmp_path)


async def _within(timeout_s: float, turn: WriterTurn) -> WriterEpoch:
    context.enter(context.CallContext(request_id="call", deadline_s=time.monotonic() + timeout_s))
    return await turn.epoch()


async def test_calls_that_come_at_once_wait_for_one_taking(store: Store) -> None:
    """Eight calls, one epoch; the ninth takes nothing."""
    turn = WriterTurn(store.take, renewable=True)
    assert len({id(epoch) for epoch in await asyncio.gather(*(turn.epoch() for _ in range(8)))}) == 1
    await turn.epoch()
    assert store.takings == 1


async def test_a_deadline_ends_a_call_and_not_the_taking(store: Store) -> None:
    """The one that waits longer gets the epoch of the taking that the impatient one began."""
    turn = WriterTurn(store.take, renewable=True)
    store.open.clear()
    patient = asyncio.create_task(turn.epoch())
    with pytest.raises(DeadlineExceededError):
        await asyncio.create_task(_within(0.05, turn))
    store.open.set()
    assert await patient is await turn.epoch()
    assert store.takings == 1


async def test_a_taking_that_failed_is_begun_again_by_the_next_call(store: Store) -> None:
    """All that wait hear of the failure."""
    turn = WriterTurn(store.take, renewable=True)
    store.fails = True
    failures = await asyncio.gather(turn.epoch(), turn.epoch(), return_exceptions=True)
    assert [type(failure) for failure in failures] == [UnavailableError] * 2
    store.fails = False
    await turn.epoch()
    assert store.takings == 2


@pytest.mark.parametrize("renewable", [True, False])
async def test_a_writer_that_lost_its_turn_rests(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, renewable: bool
) -> None:
    """A call takes the store back after the rest, where it may at all."""
    turn = WriterTurn(store.take, renewable=renewable)
    clock: Callable[[], float] = time.monotonic
    mine = await turn.epoch()
    store.taken()
    for _ in range(2):
        with pytest.raises(SupersededError):
            mine.check()
        with pytest.raises(SupersededError):
            await turn.epoch()
    monkeypatch.setattr("isthmus.index.turn.time.monotonic", lambda: clock() + 60.0)
    if renewable:
        assert (await turn.epoch()).number > mine.number + 1
    else:
        with pytest.raises(SupersededError):
            await turn.epoch()
