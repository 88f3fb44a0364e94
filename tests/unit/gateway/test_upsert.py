"""The upsert pipeline over services in memory: order, overlap, and what happens when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, Row
from isthmus.gateway.upsert import UpsertAck, UpsertCommand, Upserter
from isthmus.gateway.upsert_plan import CheckedItem
from isthmus.gateway.validation import text_content
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, UnavailableError
from tests.unit.gateway.dummy_encoder import expected_row
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, embedder
from tests.unit.gateway.memory_services import MemorySearcher, MemoryWriter

SPACE = "memory@0000000000000001"


def _item(item_id: str, text: str, *, pair_key: str = "") -> CheckedItem:
    return CheckedItem(
        item_id=item_id,
        source=text_content(text),
        attributes={},
        pair_key=pair_key,
        thumbnail=b"",
        metadata_digest=metadata_digest("text", attributes={}, pair_key=pair_key, thumbnail=b""),
    )


def _command(request_id: str, *items: CheckedItem | IsthmusError, collection: str = "c") -> UpsertCommand:
    return UpsertCommand(collection=collection, items=items, request_id=request_id)


class Rig:
    """An upserter with everything behind it."""

    def __init__(self, *, window: int = 4, slots: int = 16) -> None:
        self.encoder = MemoryEncoder()
        self.writer = MemoryWriter(Collection(name="c", text_space=SPACE, text_dimension=DIMENSION))
        self.searcher = MemorySearcher(self.writer)
        self.upserter = Upserter(
            writer=self.writer,
            searcher=self.searcher,
            embedder=embedder(self.encoder),
            window=window,
            slots=slots,
        )
        self.read = 0

    async def commands(self, commands: Sequence[UpsertCommand | Exception]) -> AsyncIterator[UpsertCommand]:
        """Hand out commands, counting how many were taken."""
        for command in commands:
            if isinstance(command, Exception):
                raise command
            self.read += 1
            yield command

    async def run(self, *commands: UpsertCommand | Exception) -> list[UpsertAck]:
        """Run a stream to its end."""
        return [ack async for ack in self.upserter.run(self.commands(commands))]


async def test_the_window_bounds_what_is_in_work() -> None:
    """With a window of three, three requests are read ahead of a commit that hangs, and no more."""
    rig = Rig(window=3)
    rig.writer.commit_s = 0.05
    running = asyncio.create_task(rig.run(*(_command(f"r{n}", _item(f"i{n}", f"t{n}")) for n in range(10))))
    await asyncio.sleep(0.03)
    assert rig.read == 3
    assert len(await running) == 10


async def test_the_slots_bound_what_all_streams_have_in_work() -> None:
    """Ten streams share four slots; all come to their end."""
    rig = Rig(window=4, slots=4)
    rig.encoder.gate.clear()
    streams = [
        asyncio.create_task(rig.run(*(_command(f"r{s}-{n}", _item(f"i{s}-{n}", f"t{s}-{n}")) for n in range(3))))
        for s in range(10)
    ]
    await asyncio.sleep(0.02)
    assert sum("look up" in line for line in rig.writer.log) == 4
    rig.encoder.gate.set()
    acks = await asyncio.wait_for(asyncio.gather(*streams), 5)
    assert [len(part) for part in acks] == [3] * 10


async def test_a_request_looks_up_after_the_commit_it_follows() -> None:
    """A request with an id of the one before waits for that commit; one with other ids does not."""
    rig = Rig()
    rig.writer.commit_s = 0.02
    await rig.run(
        _command("first", _item("a", "1")), _command("other", _item("b", "1")), _command("second", _item("a", "2"))
    )
    log = rig.writer.log
    assert log.index("look up b") < log.index("commit first")
    assert log.index("commit first") < log.index("look up a", log.index("look up a") + 1)


async def test_when_a_commit_fails_what_was_before_is_acknowledged() -> None:
    """The second commit fails: one acknowledgement, then the error, and nothing after it is committed."""
    rig = Rig()
    acks = []
    with pytest.raises(UnavailableError):  # noqa: PT012 - the loop is what raises
        async for ack in rig.upserter.run(rig.commands([_command(f"r{n}", _item(f"i{n}", f"t{n}")) for n in range(5)])):
            acks.append(ack.request_id)
            msg = "away"
            rig.writer.failures.append(UnavailableError(msg, reason="BACKEND_UNAVAILABLE"))
    assert acks == ["r0"]
    assert [line for line in rig.writer.log if line.startswith("commit")] == ["commit r0"]


async def test_after_a_failure_every_slot_is_free_again() -> None:
    """Fifty streams that break in every phase leave the slots for the next."""
    rig = Rig(slots=4)
    msg = "no"
    for number in range(50):
        if number % 3 == 0:
            rig.writer.failures.append(UnavailableError(msg, reason="BACKEND_UNAVAILABLE"))
        elif number % 3 == 1:
            rig.encoder.failures.append(UnavailableError(msg, reason="BACKEND_UNAVAILABLE"))
        broken = InvalidArgumentError(msg, reason="INVALID_NAME")
        commands = [_command(f"r{number}-{n}", _item(f"i{number}-{n}", f"t{number}-{n}")) for n in range(3)]
        with pytest.raises(IsthmusError):
            await rig.run(*commands, broken)
    assert len(await asyncio.wait_for(rig.run(*(_command(f"s{n}", _item("x", str(n))) for n in range(8))), 5)) == 8


async def test_a_stream_that_is_closed_early_cancels_its_encoding() -> None:
    """Closing after the first acknowledgement calls off what the others were waiting for."""
    rig = Rig()
    stream = rig.upserter.run(rig.commands([_command(f"r{n}", _item(f"i{n}", f"t{n}")) for n in range(4)]))
    await anext(stream)
    rig.encoder.gate.clear()
    await stream.aclose()
    await asyncio.sleep(0)
    assert rig.encoder.running == 0
    assert rig.upserter._slots._value == 16


async def test_errors_of_the_writer_come_to_the_right_items() -> None:
    """The writer counts what it got; the acknowledgement counts what was sent."""
    rig = Rig()
    msg = "no"
    rig.writer.refused["c"] = InvalidArgumentError(msg, reason="INVALID_ATTRIBUTES")
    bad = InvalidArgumentError(msg, reason="EMPTY_TEXT")
    (ack,) = await rig.run(_command("r", _item("a", "1"), bad, _item("b", "2"), _item("c", "3"), _item("d", "POISON")))
    assert {position: error.reason for position, error in ack.errors.items()} == {
        1: "EMPTY_TEXT",
        3: "INVALID_ATTRIBUTES",
        4: "ENCODE_FAILED",
    }
    assert ack.created_count == 2


async def test_when_stored_embeddings_cannot_be_read_they_are_made_again() -> None:
    """A searcher that fails costs an encoding, not the request."""
    rig = Rig()
    await rig.run(_command("r1", _item("a", "text")))
    fresh = Rig()
    fresh.writer.items = rig.writer.items
    msg = "away"
    fresh.searcher.failures.append(UnavailableError(msg, reason="BACKEND_UNAVAILABLE"))
    (ack,) = await fresh.run(_command("r2", _item("a", "text", pair_key="new")))
    assert (ack.updated_count, fresh.encoder.seen) == (1, [b"text"])


async def test_a_stored_embedding_that_changed_meanwhile_is_not_taken() -> None:
    """Between the look-up and the read the item became another: its embedding is not that of the content."""
    rig = Rig()
    await rig.run(_command("r1", _item("a", "text")))
    fresh = Rig()
    fresh.writer.items = dict(rig.writer.items)
    before = fresh.writer.look_up

    async def _look_up_then_change(collection: str, ids: Sequence[str]) -> object:
        answer = await before(collection, ids)
        other = text_content("other")
        fresh.writer.items["c", "a"] = _item("a", "other").draft(Row(expected_row(SPACE, other.data, DIMENSION)))
        return answer

    fresh.writer.look_up = _look_up_then_change  # type: ignore[method-assign, assignment]
    await fresh.run(_command("r2", _item("a", "text", pair_key="new")))
    assert fresh.writer.items["c", "a"].row == Row(expected_row(SPACE, b"text", DIMENSION))


async def test_a_collection_is_asked_for_once_a_stream() -> None:
    """Twenty requests on one stream cost one question about the collection."""
    rig = Rig()
    asked = 0
    before = rig.writer.get_collection

    async def _counted(name: str) -> Collection:
        nonlocal asked
        asked += 1
        return await before(name)

    rig.writer.get_collection = _counted  # type: ignore[method-assign]
    for _ in range(2):
        await rig.run(*(_command(f"r{n}", _item(f"i{n}", f"t{n}")) for n in range(20)))
    assert asked <= 8  # requests prepared side by side may each ask; measured: 8


async def test_texts_of_one_request_are_encoded_together() -> None:
    """Every text of a request goes out in the same call, not one by one."""
    rig = Rig()
    await rig.run(_command("r", *(_item(f"i{n}", f"t{n}") for n in range(60))))
    assert [len(call) for call in rig.encoder.calls] == [60]
    assert rig.writer.items["c", "i7"].modality is Modality.TEXT
