"""The writer on a real store: durability, idempotence, group commit, one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.core.modality import Modality
from isthmus.index.events import Event
from isthmus.index.model import AlignerFiles, CollectionSettings
from isthmus.index.store import EventTable
from isthmus.index.writer import WriterEngine
from isthmus.runtime.base.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    TWO_SPACES,
    UNVERIFIED,
    center,
    config,
    create,
    heads,
    identity,
    images,
    request_id,
    running_writer,
    texts,
    upsert,
    vectors,
)


def _names_below(folder: Path) -> set[str]:
    """Return the names of everything but the inside of the epoch's table."""
    return {path.name for path in folder.rglob("*") if "epoch.lance" not in path.relative_to(folder).parts[:-1]}


class TestCollections:
    """Creating, listing and deleting collections."""

    async def test_a_collection_is_there_after_a_restart(self, tmp_path: Path) -> None:
        """Settings, counts, revision and aligner come back; collections are listed by name."""
        async with running_writer(tmp_path) as writer:
            await create(writer, "zebras", TWO_SPACES, heads())
            await create(writer, "apples")
            await upsert(writer, [*images("ab"), *texts("c")], vectors(0, 3), name="apples")
            before = await writer.list_collections(TENANT)
        assert [(info.name, info.revision, info.image_count, info.text_count) for info in before] == [
            ("apples", 2, 2, 1),
            ("zebras", 1, 0, 0),
        ]
        assert before[1].aligner.startswith("heads@")
        async with running_writer(tmp_path) as writer:
            assert await writer.list_collections(TENANT) == before

    async def test_the_same_request_creates_once_and_another_conflicts(self, tmp_path: Path) -> None:
        """Also when both come at the same time."""
        async with running_writer(tmp_path) as writer:
            options = {"settings": ONE_SPACE, "aligner": None}
            twins = [
                writer.create_collection(TENANT, "things", request_id="same", **options)  # type: ignore[arg-type]
                for _ in range(5)
            ]
            assert len(set(await asyncio.gather(*twins))) == 1
            with pytest.raises(AlreadyExistsError) as caught:
                await writer.create_collection(TENANT, "things", request_id="other", **options)  # type: ignore[arg-type]
            assert caught.value.reason == "COLLECTION_EXISTS"

    async def test_a_deleted_collection_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Its files go; its name begins anew; repeating the deletion changes nothing, also after a restart."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            await upsert(writer, images("a"), vectors(0, 1))
            await writer.delete_collection(TENANT, "things", request_id="bye")
            assert [path.name for path in (tmp_path / TENANT).iterdir()] == ["catalog.lance"]
            with pytest.raises(NotFoundError):
                await writer.get_collection(TENANT, "things")
        async with running_writer(tmp_path) as writer:
            await writer.delete_collection(TENANT, "things", request_id="bye")
            with pytest.raises(NotFoundError):
                await writer.delete_collection(TENANT, "things", request_id="again")
            assert (await create(writer)).revision == 1

    async def test_tenants_do_not_see_one_another(self, tmp_path: Path) -> None:
        """A name means another collection to another tenant, before and after a restart."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            with pytest.raises(NotFoundError):
                await writer.get_collection("other", "things")
            await writer.create_collection("other", "things", settings=TWO_SPACES, aligner=None, request_id="r")
        async with running_writer(tmp_path) as writer:
            assert (await writer.get_collection(TENANT, "things")).settings == ONE_SPACE
            assert [info.settings for info in await writer.list_collections("other")] == [TWO_SPACES]

    @pytest.mark.parametrize("name", ["", "Things", "../up", "a/b", "a" * 64, ".hidden", "ä"])
    async def test_names_cannot_walk(self, tmp_path: Path, name: str) -> None:
        """Neither a collection nor a tenant can be named so that it means another folder."""
        async with running_writer(tmp_path / "store") as writer:
            for tenant, collection in ((TENANT, name), (name, "things")):
                with pytest.raises(InvalidArgumentError) as caught:
                    await writer.create_collection(tenant, collection, settings=ONE_SPACE, aligner=None, request_id="r")
                assert caught.value.reason == "INVALID_NAME"
        assert _names_below(tmp_path) == {"store", "writer.lock", "epoch.lance"}

    @pytest.mark.parametrize(
        "settings",
        [
            CollectionSettings(image_space="", text_space="", image_dimension=0, text_dimension=0),
            replace(ONE_SPACE, image_dimension=0),
            replace(ONE_SPACE, text_dimension=8),
            replace(ONE_SPACE, image_space="no revision"),
            replace(TWO_SPACES, image_dimension=8193),
            replace(TWO_SPACES, image_space=""),
        ],
    )
    async def test_settings_that_make_no_sense_are_refused(self, tmp_path: Path, settings: CollectionSettings) -> None:
        """Spaces and dimensions go together."""
        async with running_writer(tmp_path) as writer:
            with pytest.raises(InvalidArgumentError):
                await create(writer, settings=settings)


class TestAligner:
    """Making an aligner the active one."""

    async def test_an_aligner_is_a_mutation_like_any_other(self, tmp_path: Path) -> None:
        """Revision +1, once for a request id, none when it is active already; it survives a restart."""
        async with running_writer(tmp_path) as writer:
            await create(writer, aligner=identity())
            for request, seed, revision in (("a", 0, 2), ("a", 0, 2), ("b", 0, 2), ("c", 5, 3)):
                info = await writer.set_aligner(
                    TENANT, "things", aligner=center(seed), terms=UNVERIFIED, request_id=request
                )
                assert info.revision == revision
        async with running_writer(tmp_path) as writer:
            assert await writer.get_collection(TENANT, "things") == info

    async def test_an_aligner_of_other_spaces_is_refused(self, tmp_path: Path) -> None:
        """At creation and afterwards, with both spaces in the error."""
        async with running_writer(tmp_path) as writer:
            with pytest.raises(FailedPreconditionError):
                await create(writer, aligner=heads())
            await create(writer)
            with pytest.raises(FailedPreconditionError) as caught:
                await writer.set_aligner(TENANT, "things", aligner=heads(), terms=UNVERIFIED, request_id="r")
            assert caught.value.reason == "ALIGNER_SPACES_MISMATCH"
            assert caught.value.metadata["space"] == SPACE

    async def test_a_damaged_artefact_is_refused(self, tmp_path: Path) -> None:
        """A byte more or less in either file."""
        good = identity()
        async with running_writer(tmp_path) as writer:
            await create(writer)
            for bad in (AlignerFiles(good.manifest + b" ", good.tensors + b"x"), AlignerFiles(b"{}", good.tensors)):
                with pytest.raises(InvalidArgumentError) as caught:
                    await writer.set_aligner(TENANT, "things", aligner=bad, terms=UNVERIFIED, request_id=request_id())
                assert caught.value.reason == "ARTEFACT_DAMAGED"


class TestMutations:
    """Upserts and deletions."""

    async def test_concurrent_mutations_share_commits_and_keep_their_revisions(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """64 single upserts at once: 64 revisions, a handful of commits."""
        commits: list[int] = []
        append = EventTable.append

        def counted(table: EventTable, events: Sequence[Event]) -> None:
            """Append, and note how many rows."""
            commits.append(len(events))
            append(table, events)

        monkeypatch.setattr(EventTable, "append", counted)
        rows = vectors(0, 64)
        async with running_writer(tmp_path) as writer:
            await create(writer)
            results = await asyncio.gather(*(upsert(writer, images([str(n)]), rows[n : n + 1]) for n in range(64)))
        assert sorted(result.revision for result in results) == list(range(2, 66))
        assert sum(commits) == 64
        assert len(commits) <= 8  # 2 here

    async def test_a_request_is_applied_once_however_often_it_comes(self, tmp_path: Path) -> None:
        """50 copies at once, then after a restart: revision +1 exactly once and one answer; deletions too."""
        rows = vectors(0, 3)
        async with running_writer(tmp_path) as writer:
            await create(writer)
            copies = [upsert(writer, images("abc"), rows, request="up") for _ in range(50)]
            upserted = set(await asyncio.gather(*copies))
            deletions = [writer.delete(TENANT, "things", ids=["a", "x"], request_id="del") for _ in range(50)]
            deleted = set(await asyncio.gather(*deletions))
        assert [(result.revision, result.created_count) for result in upserted] == [(2, 3)]
        assert deleted == {(3, 1)}
        async with running_writer(tmp_path) as writer:
            assert {await upsert(writer, images("abc"), rows, request="up")} == upserted
            assert {await writer.delete(TENANT, "things", ids=["a", "x"], request_id="del")} == deleted
            info = await writer.get_collection(TENANT, "things")
            assert (info.revision, info.image_count) == (3, 2)

    async def test_items_that_are_stored_already_cost_nothing(self, tmp_path: Path) -> None:
        """After a restart as well: the revision stays."""
        rows = vectors(0, 3)
        async with running_writer(tmp_path) as writer:
            await create(writer)
            await upsert(writer, images("abc"), rows)
        async with running_writer(tmp_path) as writer:
            again = await upsert(writer, images("abc"), rows)
            assert (again.revision, again.unchanged_count) == (2, 3)

    async def test_a_store_that_fails_loses_nothing_and_recovers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The caller is told to repeat; what was written before the failure is found, what was not is written."""
        append = EventTable.append
        rows = vectors(0, 1)

        def before(_table: EventTable, _events: Sequence[Event]) -> None:
            """Fail before anything is written."""
            raise OSError

        def after(table: EventTable, events: Sequence[Event]) -> None:
            """Write, then fail."""
            append(table, events)
            raise OSError

        async with running_writer(tmp_path) as writer:
            await create(writer)
            for number, failing in enumerate((before, after)):
                request = f"r{number}"
                monkeypatch.setattr(EventTable, "append", failing)
                with pytest.raises(UnavailableError) as caught:
                    await upsert(writer, images(str(number)), rows, request=request)
                assert caught.value.reason == "BACKEND_UNAVAILABLE"
                monkeypatch.setattr(EventTable, "append", append)
                result = await upsert(writer, images(str(number)), rows, request=request)
                assert (result.revision, result.created_count) == (number + 2, 1)
            assert (await writer.get_collection(TENANT, "things")).image_count == 2

    async def test_too_many_waiting_rows_are_refused_with_a_time_to_retry(self, tmp_path: Path) -> None:
        """The queue is bounded; what was accepted is applied."""
        rows = vectors(0, 900)
        async with running_writer(tmp_path, queue_max_rows=1000) as writer:
            await create(writer)
            ids = [str(number) for number in range(900)]
            outcomes = await asyncio.gather(
                *(upsert(writer, images(ids), rows) for _ in range(6)), return_exceptions=True
            )
            refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceExhaustedError)]
            assert refused
            assert {(error.reason, error.retry_after_s is None) for error in refused} == {("QUEUE_FULL", False)}
            assert (await writer.get_collection(TENANT, "things")).image_count == 900

    async def test_lookup_answers_in_the_order_asked(self, tmp_path: Path) -> None:
        """None where nothing is stored."""
        items = [replace(item, content_digest=bytes([number]) * 32) for number, item in enumerate(images("ab"))]
        async with running_writer(tmp_path) as writer:
            await create(writer)
            await upsert(writer, items, vectors(0, 2))
            revision, found = await writer.lookup(TENANT, "things", ids=["b", "nobody", "a"])
        assert revision == 2
        assert [None if entry is None else entry.content_digest[0] for entry in found] == [1, None, 0]

    @pytest.mark.parametrize(
        ("count", "name", "reason"),
        [
            (0, "r", "EMPTY_INPUT"),
            (1001, "r", "BATCH_TOO_LARGE"),
            (1, "", "FIELD_REQUIRED"),
            (1, "a b", "INVALID_FIELD"),
        ],
    )
    async def test_a_request_over_a_limit_is_refused(self, tmp_path: Path, count: int, name: str, reason: str) -> None:
        """For upserts and deletions alike."""
        ids = [str(number) for number in range(count)]
        async with running_writer(tmp_path) as writer:
            await create(writer)
            with pytest.raises(IsthmusError) as caught:
                await writer.delete(TENANT, "things", ids=ids, request_id=name)
            assert caught.value.reason == reason
            with pytest.raises(IsthmusError) as caught:
                await writer.upsert(TENANT, "things", items=images(ids), vectors={}, request_id=name)
            assert caught.value.reason == reason

    async def test_many_small_commits_are_compacted_while_writing_goes_on(self, tmp_path: Path) -> None:
        """200 commits leave few files, and a restart finds every item."""
        rows = vectors(0, 200)
        async with running_writer(tmp_path, compact_fan_out=8) as writer:
            await create(writer)
            for number in range(200):
                await upsert(writer, images([str(number)]), rows[number : number + 1])
        (table,) = (path for path in (tmp_path / TENANT).iterdir() if path.name != "catalog.lance")
        assert len(EventTable.open(str(table), durable=False).view().fragment_ids) < 40
        async with running_writer(tmp_path) as writer:
            info = await writer.get_collection(TENANT, "things")
        assert (info.revision, info.image_count) == (201, 200)


class TestOneWriter:
    """A store has one writer."""

    async def test_a_second_writer_is_refused_and_may_follow(self, tmp_path: Path) -> None:
        """The lock goes with the first."""
        async with running_writer(tmp_path):
            second = WriterEngine(config(tmp_path, "writer"))
            with pytest.raises(UnavailableError, match="another writer"):
                await second.start()
            await second.close()
        async with running_writer(tmp_path) as third:
            assert await third.list_collections(TENANT) == ()

    async def test_a_writer_that_was_closed_takes_nothing_more(self, tmp_path: Path) -> None:
        """What waits is committed; what comes later is refused."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            waiting = asyncio.ensure_future(upsert(writer, images("a"), vectors(0, 1)))
            await asyncio.sleep(0.05)
        assert (await waiting).revision == 2
        with pytest.raises(UnavailableError):
            await writer.get_collection(TENANT, "things")


def test_the_modalities_of_a_collection_are_those_that_have_a_space() -> None:
    """An image-only collection takes images only."""
    only_images = replace(ONE_SPACE, text_space="", text_dimension=0)
    assert only_images.modalities == (Modality.IMAGE,)
    assert not only_images.needs_aligner
    assert TWO_SPACES.needs_aligner
    assert CollectionSettings.from_json(TWO_SPACES.to_json()) == TWO_SPACES
