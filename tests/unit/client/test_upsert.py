"""Upserts: streamed, acknowledged, and gone on with after the mesh went away."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from isthmus.client import (
    AsyncClient,
    Client,
    ClientConfig,
    IsthmusError,
    Item,
    Limits,
    NotFoundError,
    ResourceExhaustedError,
    Resume,
    SpacedVector,
    UnavailableError,
)
from isthmus.runtime.base import errors as served
from tests.unit.client.small_gateway import BROKEN_IMAGE, IMAGE_SPACE, Running, SmallGateway

SMALL = ClientConfig(
    limits=Limits(chunk_max_count=10), resume=Resume(max_attempts=4, initial_backoff_s=0.01, max_backoff_s=0.05)
)


@pytest.fixture
def small(server: Running) -> Iterator[Client]:
    """A client that sends ten items a message and is not patient, and a collection `c`."""
    with Client(server.address, config=SMALL) as client:
        client.create_collection("c")
        yield client


def _items(count: int) -> list[Item]:
    return [Item(id=f"i{n}", text=f"text {n}") for n in range(count)]


def _gone() -> served.UnavailableError:
    return served.UnavailableError("a service is gone", reason="BACKEND_UNAVAILABLE")


def test_each_message_is_acknowledged_in_order(small: Client, gateway: SmallGateway) -> None:
    """35 items are four messages, each with its own request id, revision and counts."""
    acks = list(small.upsert_acks("c", _items(35), request_id="mine"))
    assert [ack.request_id for ack in acks] == ["mine-0", "mine-1", "mine-2", "mine-3"]
    assert [ack.items for ack in acks] == [10, 10, 10, 5]
    assert [ack.revision for ack in acks] == [2, 3, 4, 5]
    assert sum(ack.created for ack in acks) == len(gateway.items["c"]) == 35


def test_a_summary_adds_up_the_acknowledgements(small: Client) -> None:
    """The second identical run changes nothing, and a changed item counts as updated."""
    first = small.upsert("c", _items(35))
    assert (first.items, first.created, first.updated, first.unchanged, first.revision) == (35, 35, 0, 0, 5)
    again = small.upsert("c", [*_items(34), Item(id="i34", text="another text")])
    assert (again.created, again.updated, again.unchanged) == (0, 1, 34)


def test_refused_items_are_named_and_harm_nobody(small: Client, gateway: SmallGateway) -> None:
    """Errors carry the item's id and its position among all items; everything else is stored."""
    items = _items(25)
    items[3] = Item(id="bad", image=BROKEN_IMAGE)
    items[17] = Item(id="blank", text=" ")
    summary = small.upsert("c", items)
    assert [(e.index, e.id, e.reason) for e in summary.errors] == [
        (3, "bad", "INVALID_IMAGE"),
        (17, "blank", "EMPTY_TEXT"),
    ]
    assert summary.created == len(gateway.items["c"]) == 23


def test_cut_texts_are_named(small: Client) -> None:
    """`truncated` holds the ids of the texts that did not fit the model's context."""
    summary = small.upsert("c", [*_items(12), Item(id="long", text="x" * 30)])
    assert summary.truncated == ("long",)


def test_everything_of_an_item_travels(small: Client, tmp_path: Path) -> None:
    """Image from a path, attributes of four types, pair key, thumbnail, and vectors with their space."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"picture")
    small.upsert(
        "c",
        [
            Item(id="a", image=path, attributes={"s": "x", "i": 3, "f": 0.5, "b": True}, pair_key="p", thumbnail=b"t"),
            Item(id="v", vector=SpacedVector(np.arange(1, 9), modality="image", space=IMAGE_SPACE)),
        ],
    )
    first, second = small.get_items("c", ["a", "v"], include_thumbnails=True).items
    assert first.attributes == {"s": "x", "i": 3, "f": 0.5, "b": True}
    assert [type(value) for _, value in sorted(first.attributes.items())] == [bool, float, int, str]
    assert (first.modality, first.pair_key, first.thumbnail) == ("image", "p", b"t")
    assert (second.modality, second.space) == ("image", IMAGE_SPACE)


def test_a_broken_stream_is_gone_on_with(small: Client, gateway: SmallGateway) -> None:
    """What was not acknowledged is sent again under the same request ids; every item is stored, none twice."""
    gateway.failures["UpsertItems"].extend([None, None, _gone(), None, _gone()])
    summary = small.upsert("c", _items(95), request_id="r")
    assert (summary.items, summary.created) == (95, 95)
    assert gateway.calls["UpsertItems"] == 3
    assert gateway.applied == [f"r-{n}" for n in range(10)]


def test_an_applied_message_whose_acknowledgement_was_lost_is_not_applied_again(
    small: Client, gateway: SmallGateway
) -> None:
    """The mesh knows the request id, and its answer counts as if it had come the first time."""
    gateway.apply_before_failing = True
    gateway.failures["UpsertItems"].extend([None, _gone()])
    summary = small.upsert("c", _items(40), request_id="r")
    assert summary.created == 40
    assert gateway.applied == ["r-0", "r-1", "r-2", "r-3"]
    assert [r.request_id for r in gateway.requests["UpsertItems"]].count("r-1") == 2


def test_a_mesh_that_restarts_is_found_again(server: Running, gateway: SmallGateway) -> None:
    """The port closes in the middle of an upsert and opens again: the upsert waits, goes on, and loses nothing."""
    gateway.delay_s["UpsertItems"] = 0.02
    patient = ClientConfig(limits=Limits(chunk_max_count=10), resume=Resume(max_attempts=30, max_backoff_s=0.2))

    def restart() -> None:
        server.stop()
        time.sleep(0.3)
        server.start()

    with Client(server.address, config=patient) as client:
        client.create_collection("c")
        acks = client.upsert_acks("c", _items(300))
        seen = [next(acks), next(acks)]
        restarting = threading.Thread(target=restart)
        restarting.start()
        seen.extend(acks)
        restarting.join()
    assert sum(ack.items for ack in seen) == 300
    assert sum(ack.created for ack in seen) == len(gateway.items["c"]) == 300
    assert gateway.calls["UpsertItems"] >= 2


def test_a_mesh_that_stays_away_is_given_up(small: Client, gateway: SmallGateway) -> None:
    """After `max_attempts` without a single acknowledgement the failure is the caller's."""
    gateway.failures["UpsertItems"].extend([_gone()] * 10)
    with pytest.raises(UnavailableError):
        small.upsert("c", _items(5))
    assert gateway.calls["UpsertItems"] == 4


def test_an_acknowledgement_renews_the_patience(small: Client, gateway: SmallGateway) -> None:
    """Three failures, progress, and three failures again are within four attempts in a row."""
    gateway.failures["UpsertItems"].extend([_gone(), _gone(), _gone(), None, _gone(), _gone(), _gone()])
    assert small.upsert("c", _items(20)).created == 20


def test_a_shed_message_is_sent_again_after_the_pause_it_asks_for(small: Client, gateway: SmallGateway) -> None:
    """RESOURCE_EXHAUSTED with a pause means "later": the upsert waits at least that long."""
    gateway.failures["UpsertItems"].append(
        served.ResourceExhaustedError("full", reason="QUEUE_FULL", retry_after_s=0.3)
    )
    started_s = time.monotonic()
    assert small.upsert("c", _items(5)).created == 5
    assert time.monotonic() - started_s >= 0.3


def test_a_refusal_without_a_pause_is_final(small: Client, gateway: SmallGateway) -> None:
    """RESOURCE_EXHAUSTED without a pause is over a limit, and stays so."""
    gateway.failures["UpsertItems"].append(served.ResourceExhaustedError("too many", reason="BATCH_TOO_LARGE"))
    with pytest.raises(ResourceExhaustedError):
        small.upsert("c", _items(5))
    assert gateway.calls["UpsertItems"] == 1


def test_an_unknown_collection_is_refused_at_once(small: Client, gateway: SmallGateway) -> None:
    """NOT_FOUND ends the upsert with its reason; nothing is tried again."""
    with pytest.raises(NotFoundError) as caught:
        small.upsert("nowhere", _items(50))
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    assert gateway.calls["UpsertItems"] == 1


def test_no_items_make_no_call(small: Client, gateway: SmallGateway) -> None:
    """An empty source is an empty summary."""
    assert small.upsert("c", []).items == 0
    assert gateway.calls["UpsertItems"] == 0


def test_only_the_window_is_on_its_way(server: Running, gateway: SmallGateway) -> None:
    """Without an acknowledgement no more than `window_max_count` messages are read from the source."""
    read = 0

    def source() -> Iterator[Item]:
        nonlocal read
        for item in _items(500):
            read += 1
            yield item

    config = ClientConfig(limits=Limits(chunk_max_count=10, window_max_count=3))
    with Client(server.address, config=config) as client:
        client.create_collection("c")
        acks = client.upsert_acks("c", source())
        next(acks)
        assert read == 31  # three messages, and the item that shows the third to be full
        acks.close()  # type: ignore[attr-defined]
    assert len(gateway.items["c"]) <= 30


def test_a_failing_source_is_the_callers_error(small: Client, gateway: SmallGateway) -> None:
    """An exception of the items' iterator comes out as it is, also when it is one of the client's own."""

    def source() -> Iterator[Item]:
        yield from _items(25)
        msg = "from the source"
        raise UnavailableError(msg, code="UNAVAILABLE")

    with pytest.raises(UnavailableError, match="from the source"):
        small.upsert("c", source())
    assert gateway.calls["UpsertItems"] <= 1


def test_a_missing_file_is_the_callers_error(small: Client, tmp_path: Path) -> None:
    """A path that cannot be read raises OSError."""
    with pytest.raises(FileNotFoundError):
        small.upsert("c", [Item(id="a", image=tmp_path / "missing.jpg")])


def test_an_item_too_large_for_any_message_is_refused_alone(server: Running, gateway: SmallGateway) -> None:
    """It is refused without being sent, also when it is the last or the only one."""
    config = ClientConfig(limits=Limits(message_max_bytes=10_000, chunk_max_bytes=5_000))
    with Client(server.address, config=config) as client:
        client.create_collection("c")
        summary = client.upsert("c", [Item(id="a", text="a"), Item(id="big", image=bytes(20_000))])
        alone = client.upsert("c", [Item(id="big", image=bytes(20_000))])
    assert (summary.items, summary.created) == (2, 1)
    assert [(error.index, error.id, error.reason) for error in summary.errors] == [(1, "big", "MESSAGE_TOO_LARGE")]
    assert (alone.items, alone.created, len(alone.errors)) == (1, 0, 1)
    assert list(gateway.items["c"]) == ["a"]


def test_the_same_id_twice_means_the_later_one(small: Client) -> None:
    """The later version of an item is what stays."""
    small.upsert("c", [Item(id="a", text="first"), Item(id="a", text="second", attributes={"n": 2})])
    assert small.get_items("c", ["a"]).items[0].attributes == {"n": 2}


def test_a_long_request_id_is_refused_here(small: Client) -> None:
    """There must be room for the number of each message."""
    with pytest.raises(ValueError, match="request_id must have 1 to 48 characters; it has 49"):
        small.upsert("c", _items(1), request_id="x" * 49)


def test_progress_is_told_with_every_acknowledgement(small: Client) -> None:
    """`progress` sees what the summary adds up."""
    seen: list[int] = []
    small.upsert("c", _items(25), progress=lambda ack: seen.append(ack.items))
    assert seen == [10, 10, 5]


async def test_the_async_client_goes_on_after_a_broken_stream(server: Running, gateway: SmallGateway) -> None:
    """The same session behind asyncio: same request ids, nothing lost, nothing twice, an async source read."""

    async def source() -> AsyncIterator[Item]:
        """Yield the items."""
        for item in _items(95):
            yield item

    gateway.apply_before_failing = True
    gateway.failures["UpsertItems"].extend([None, _gone(), None, None, _gone()])
    async with AsyncClient(server.address, config=SMALL) as client:
        await client.create_collection("c")
        summary = await client.upsert("c", source(), request_id="r")
    assert (summary.items, summary.created) == (95, 95)
    assert gateway.applied == [f"r-{n}" for n in range(10)]


async def test_leaving_an_async_upsert_early_ends_its_stream(server: Running) -> None:
    """Whoever stops reading acknowledgements stops sending too, and closing the client does not hang."""
    async with AsyncClient(server.address, config=SMALL) as client:
        await client.create_collection("c")
        acks = client.upsert_acks("c", _items(500))
        async for ack in acks:
            assert ack.created == 10
            break
        await acks.aclose()  # type: ignore[attr-defined]


async def test_an_async_refusal_is_final(server: Running, gateway: SmallGateway) -> None:
    """An unknown collection ends it at once, with its class."""
    async with AsyncClient(server.address, config=SMALL) as client:
        with pytest.raises(IsthmusError) as caught:
            await client.upsert("nowhere", _items(5))
    assert isinstance(caught.value, NotFoundError)
    assert gateway.calls["UpsertItems"] == 1


async def test_an_async_refusal_in_full_flight_keeps_its_reason(server: Running, gateway: SmallGateway) -> None:
    """A refusal that comes while messages are being written is not lost in the failure of the write, 30 times of 30."""
    for _ in range(30):
        async with AsyncClient(server.address, config=SMALL) as client:
            with pytest.raises(NotFoundError, match="COLLECTION_NOT_FOUND"):
                await client.upsert("nowhere", _items(300))
