"""The searcher following a real store."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.events import Answer, Event, Op, events_to_table
from isthmus.index.model import SearchResult
from isthmus.index.store import EventTable
from isthmus.runtime.base.errors import (
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.index.support import (
    IMAGE_SPACE,
    SPACE,
    TENANT,
    TEXT_SPACE,
    TWO_SPACES,
    UNVERIFIED,
    center,
    create,
    heads,
    identity,
    images,
    request_id,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)


async def _search(searcher: SearcherEngine, query: NDArray[np.float32], **changes: Any) -> SearchResult:
    options: dict[str, Any] = {"modality": Modality.IMAGE, "space": SPACE, "top_k": 5, "timeout_s": 20.0}
    return await searcher.search(TENANT, "things", queries=query, **(options | changes))


def _ids(result: SearchResult) -> list[str]:
    return [neighbor.item.id for neighbor in result.neighbors[0]]


async def _eventually(check: Callable[[], Awaitable[bool]]) -> None:
    until = time.monotonic() + 20.0
    while not await check():
        assert time.monotonic() < until, "it did not happen within 20 s"
        await asyncio.sleep(0.02)


class TestFreshness:
    """What a read sees, and when."""

    async def test_a_write_is_read_with_its_revision(self, tmp_path: Path) -> None:
        """Created, updated and deleted items are seen at once by a read that names the revision."""
        rows = vectors(0, 4)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, poll_interval_s=10.0) as searcher:
            await create(writer)
            stored = await upsert(writer, images("abc"), rows[:3])
            assert _ids(await _search(searcher, rows[:1], min_revision=stored.revision))[0] == "a"
            moved = await upsert(writer, images("a"), rows[3:])
            result = await _search(searcher, rows[3:], min_revision=moved.revision)
            assert (_ids(result)[0], result.revision) == ("a", moved.revision)
            revision, _ = await writer.delete(TENANT, "things", ids=["a"], request_id=request_id())
            assert set(_ids(await _search(searcher, rows[:1], min_revision=revision))) == {"b", "c"}

    async def test_a_searcher_follows_unasked(self, tmp_path: Path) -> None:
        """Polling brings what nobody waited for."""
        rows = vectors(0, 1)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer)
            stored = await upsert(writer, images("a"), rows)

            async def seen() -> bool:
                """Return True once a search answers from the new revision."""
                return (await _search(searcher, rows)).revision == stored.revision

            await _eventually(seen)

    async def test_a_revision_that_does_not_come_is_not_waited_for_for_ever(self, tmp_path: Path) -> None:
        """The deadline ends it; so does the searcher's own patience; the error tells how far it is."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, revision_wait_s=0.3) as searcher:
            await create(writer)
            for timeout_s in (0.1, None):
                with pytest.raises(UnavailableError) as caught:
                    await _search(searcher, vectors(0, 1), min_revision=99, timeout_s=timeout_s)
                assert caught.value.reason == "REVISION_NOT_REACHED"
                assert caught.value.metadata == {"revision": "1", "min_revision": "99"}

    async def test_a_collection_deleted_and_made_again_is_another_one(self, tmp_path: Path) -> None:
        """Nothing of the old one is seen, however soon the read comes."""
        rows = vectors(0, 2)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, poll_interval_s=10.0) as searcher:
            for round_ in range(5):
                await create(writer)
                await upsert(writer, images([f"item-{round_}"]), rows[:1])
                assert _ids(await _search(searcher, rows[:1], min_revision=2)) == [f"item-{round_}"]
                await writer.delete_collection(TENANT, "things", request_id=request_id())
                with pytest.raises(NotFoundError):
                    await _search(searcher, rows[:1])

    async def test_a_restarted_searcher_answers_as_before(self, tmp_path: Path) -> None:
        """Restart loses nothing: the same neighbours, scores, revision and calibration."""
        rows = vectors(0, 300)
        items = [replace(item, pair_key=str(n % 40)) for n, item in enumerate(images(map(str, range(150))))]  # type: ignore[arg-type]
        items += [replace(item, pair_key=str(n % 40)) for n, item in enumerate(texts([f"t{n}" for n in range(150)]))]
        async with running_writer(tmp_path) as writer:
            await create(writer)
            async with running_searcher(tmp_path) as searcher:
                for start in range(0, 300, 30):
                    stored = await upsert(writer, items[start : start + 30], rows[start : start + 30])
                revision, _ = await writer.delete(TENANT, "things", ids=["3", "t7"], request_id=request_id())
                assert revision == stored.revision + 1

                async def settled() -> bool:
                    """Return True once segments and calibration are final."""
                    result = await _search(searcher, rows[:3], min_revision=revision)
                    follower = searcher._following.roster.get(TENANT, "things")
                    assert follower is not None
                    return result.calibration is CalibrationSource.ESTIMATED and follower.is_settled

                await _eventually(settled)
                before = await _search(searcher, rows[:3], top_k=50)
            async with running_searcher(tmp_path) as searcher:
                after = await _search(searcher, rows[:3], top_k=50)
        assert [[n.item for n in answer] for answer in after.neighbors] == [
            [n.item for n in answer] for answer in before.neighbors
        ]
        assert (after.revision, after.calibration) == (before.revision, before.calibration)
        for mine, theirs in zip(after.neighbors, before.neighbors, strict=True):
            np.testing.assert_allclose([n.score for n in mine], [n.score for n in theirs], atol=1e-6)
            np.testing.assert_allclose(
                [n.calibrated_score for n in mine], [n.calibrated_score for n in theirs], atol=1e-4
            )


class TestAligner:
    """A collection's aligner changes under the reader."""

    async def test_promoting_an_aligner_rebuilds_beside_and_swaps(self, tmp_path: Path) -> None:
        """Each answer is wholly of the aligner whose space it names."""
        rows = vectors(0, 50)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer, aligner=identity())
            await upsert(writer, images([str(n) for n in range(50)]), rows)
            for files in (center(1), center(2), identity()):
                info = await writer.set_aligner(
                    TENANT, "things", aligner=files, terms=UNVERIFIED, request_id=request_id()
                )
                result = await _search(searcher, rows[:1], top_k=50, min_revision=info.revision)
                aligner = load_aligner(Artefact.from_bytes(files.manifest, files.tensors))
                aligned = aligner.align(rows, Modality.IMAGE)
                assert result.space == info.aligner == aligner.space
                np.testing.assert_allclose(
                    [n.score for n in result.neighbors[0]],
                    np.sort(np.minimum(aligned @ aligned[0], 1.0))[::-1],
                    atol=1e-5,
                )

    async def test_two_spaces_meet_once_an_aligner_is_active(self, tmp_path: Path) -> None:
        """Before, a cross-modal search is refused; within a modality it works."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer, settings=TWO_SPACES)
            await upsert(writer, images("ab"), vectors(0, 2), space=IMAGE_SPACE)
            stored = await upsert(writer, texts("cd"), vectors(1, 2, 8), space=TEXT_SPACE)
            query = {"modality": Modality.TEXT, "space": TEXT_SPACE, "min_revision": stored.revision}
            with pytest.raises(FailedPreconditionError) as caught:
                await _search(searcher, vectors(1, 1, 8), **query)
            assert caught.value.reason == "NO_ALIGNER"
            assert _ids(await _search(searcher, vectors(1, 1, 8), item_modality=Modality.TEXT, **query))[0] == "c"
            info = await writer.set_aligner(
                TENANT, "things", aligner=heads(), terms=UNVERIFIED, request_id=request_id()
            )
            result = await _search(searcher, vectors(1, 1, 8), **(query | {"min_revision": info.revision}))
            assert set(_ids(result)) == {"a", "b", "c", "d"}


class TestReadItems:
    """`read_items`."""

    async def test_a_pinned_revision_is_read_whatever_is_written_meanwhile(self, tmp_path: Path) -> None:
        """Items deleted, replaced or added after the pin are read as they were, or not at all."""
        rows = vectors(0, 2500)
        ids = [str(number) for number in range(2500)]
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer, aligner=identity())
            for start in range(0, 2000, 500):
                items = images(ids[start : start + 500]) if start < 1500 else texts(ids[start : start + 500])
                stored = await upsert(writer, items, rows[start : start + 500])
            reader = await searcher.read_items(TENANT, "things", min_revision=stored.revision)
            first = await anext(reader.batches)
            await writer.delete(TENANT, "things", ids=ids[1000:1100], request_id=request_id())
            await upsert(writer, images(ids[1100:1200]), rows[2400:2500])
            last = await upsert(writer, images(ids[2000:2500]), rows[2000:2500])
            await _search(searcher, rows[:1], min_revision=last.revision)
            batches = [first] + [batch async for batch in reader.batches]
        assert (reader.info.revision, reader.info.image_count, reader.info.text_count) == (stored.revision, 1500, 500)
        assert reader.aligner == identity()
        read = {item_id: row for batch in batches for item_id, row in zip(batch.ids, batch.embeddings, strict=True)}
        assert sorted(read) == sorted(ids[:2000])
        np.testing.assert_array_equal(np.stack([read[item_id] for item_id in ids[:2000]]), rows[:2000])
        assert [batch.modality for batch in batches] == [Modality.IMAGE, Modality.IMAGE, Modality.TEXT]

    async def test_only_pairs_are_read_when_asked(self, tmp_path: Path) -> None:
        """Items without a pair key are left out; the keys come with the ids."""
        items = [
            replace(item, pair_key="" if number % 2 else f"k{number}") for number, item in enumerate(images("abcd"))
        ]
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer)
            stored = await upsert(writer, items, vectors(0, 4))
            reader = await searcher.read_items(TENANT, "things", paired_only=True, min_revision=stored.revision)
            batches = [batch async for batch in reader.batches]
        assert [(batch.ids, batch.pair_keys) for batch in batches] == [(("a", "c"), ("k0", "k2"))]


class TestRefusals:
    """What a searcher does not answer."""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"top_k": 0}, "INVALID_FIELD"),
            ({"top_k": 1001}, "LIMIT_EXCEEDED"),
            ({"queries": vectors(0, 257)}, "BATCH_TOO_LARGE"),
            ({"queries": np.empty((0, 16), np.float32)}, "EMPTY_INPUT"),
        ],
    )
    async def test_a_request_over_a_limit_is_refused(
        self, tmp_path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        """Too many queries or neighbours, or none."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
            await create(writer)
            with pytest.raises(IsthmusError) as caught:
                await _search(searcher, changes.pop("queries", vectors(0, 1)), **changes)
        assert caught.value.reason == reason

    async def test_more_reads_than_the_queue_holds_are_shed(self, tmp_path: Path) -> None:
        """With a time to retry; those that were let in are answered."""
        async with (
            running_writer(tmp_path) as writer,
            running_searcher(tmp_path, search_threads=1, search_queue_count=2) as searcher,
        ):
            await create(writer)
            admitted = [asyncio.ensure_future(searcher.offload(lambda: time.sleep(0.2))) for _ in range(3)]
            await asyncio.sleep(0)
            for _ in range(5):
                with pytest.raises(ResourceExhaustedError) as caught:
                    await _search(searcher, vectors(0, 1))
                assert caught.value.reason == "OVERLOADED"
                assert caught.value.retry_after_s is not None
            await asyncio.gather(*admitted)
            assert (await _search(searcher, vectors(0, 1))).revision == 1

    async def test_a_search_whose_deadline_passed_in_the_queue_is_dropped(self, tmp_path: Path) -> None:
        """It costs nothing."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, search_threads=1) as searcher:
            await create(writer)
            await _search(searcher, vectors(0, 1))
            busy = asyncio.ensure_future(searcher.offload(lambda: time.sleep(0.3)))
            with pytest.raises(DeadlineExceededError):
                await _search(searcher, vectors(0, 1), timeout_s=0.05)
            await busy

    async def test_a_damaged_row_is_never_answered_from(self, tmp_path: Path) -> None:
        """A searcher that had read the collection stays where it was; one that starts refuses it, and serves others."""
        rows = vectors(0, 1)

        async def append_damaged(writer: WriterEngine) -> None:
            """Append an event whose digest is wrong."""
            (table,) = (path for path in (tmp_path / TENANT).iterdir() if path.name != "catalog.lance")
            await create(writer, "others")
            event = Event(
                revision=3, op=Op.DELETE, request_id="r", id="a", answer=Answer(op=Op.DELETE, revision=3).to_json()
            )
            good = events_to_table([event])
            digest = good.schema.get_field_index("row_digest")
            field = good.schema.field(digest)
            damaged = good.set_column(digest, field, [[bytes(32)]])
            EventTable.open(str(table), durable=False)._table.append(damaged.cast(good.schema))

        async with running_writer(tmp_path) as writer:
            await create(writer)
            async with running_searcher(tmp_path) as searcher:
                await upsert(writer, images("a"), rows)
                await _search(searcher, rows, min_revision=2)
                await append_damaged(writer)
                with pytest.raises(DataLossError) as caught:
                    await _search(searcher, rows, min_revision=3)
                assert (caught.value.reason, caught.value.metadata) == ("STORE_DAMAGED", {"rows": "1"})
                assert _ids(await _search(searcher, rows)) == ["a"]
        async with running_searcher(tmp_path) as searcher:
            with pytest.raises(DataLossError):
                await _search(searcher, rows)
            assert (await searcher.read_items(TENANT, "others")).info.revision == 1

    async def test_a_collection_whose_files_are_gone_is_unavailable(self, tmp_path: Path) -> None:
        """Not an internal error, and not an empty answer."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
        (table,) = (path for path in (tmp_path / TENANT).iterdir() if path.name != "catalog.lance")
        shutil.rmtree(table)
        async with running_searcher(tmp_path) as searcher:
            with pytest.raises(UnavailableError) as caught:
                await _search(searcher, vectors(0, 1))
        assert caught.value.reason == "BACKEND_UNAVAILABLE"

    async def test_a_searcher_may_start_before_there_is_a_store(self, tmp_path: Path) -> None:
        """It finds what is made afterwards."""
        async with running_searcher(tmp_path / "store") as searcher:
            with pytest.raises(NotFoundError):
                await _search(searcher, vectors(0, 1))
            async with running_writer(tmp_path / "store") as writer:
                await create(writer)
                assert (await _search(searcher, vectors(0, 1))).revision == 1
