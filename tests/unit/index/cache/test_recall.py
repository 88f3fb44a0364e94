"""What is believed of a cache file, and what is read from the store all the same."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from isthmus.core.modality import Modality
from isthmus.index.cache.collection import CollectionCache
from isthmus.index.events import Op
from isthmus.index.follower import Follower
from isthmus.index.store import EventTable, EventView
from isthmus.runtime.base.errors import DataLossError
from isthmus.runtime.base.shards import Shard
from isthmus.runtime.base.structure_kinds import Kind
from tests.unit.index.cache.saved import (
    IMAGES,
    QUERIES,
    TEXTS,
    Saved,
    answers,
    arranged,
    brute_force,
    change,
    contents,
    fill,
)
from tests.unit.index.support import (
    TENANT,
    UNVERIFIED,
    identity,
    images,
    request_id,
    running_writer,
    upsert,
    vectors,
)

_lance: Any = lance  # its type stubs lack some of what is used here

_DAMAGES: Final = {
    "a deletion is of another id": "id",
    "an item is a deletion": "op",
    "two events of an id change places": "revision",
    "an item is of another id": "id",
}
"""And the column that is damaged."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A store with cache files; tests work on copies of it."""
    root = tmp_path_factory.mktemp("whole")
    fill(root / "store")
    saved = Saved.at(root / "store", root / "cache")
    saved.save()
    return saved


@pytest.fixture
def saved(whole: Saved, tmp_path: Path) -> Saved:
    """A copy of the store and its files, at a place of its own."""
    shutil.copytree(whole.paths.root, tmp_path / "store")
    shutil.copytree(whole.folder, tmp_path / "cache")
    return Saved.at(tmp_path / "store", tmp_path / "cache")


def test_a_start_from_files_is_as_one_from_the_store(saved: Saved) -> None:
    """Items, vectors and answers are equal to the last bit, and only the segment worth a file has one."""
    assert [file.name.partition("-")[0] for file in saved.files] == ["image"]
    expected = saved.load().snapshot()
    cache = saved.cache
    found = saved.load(cache=cache).snapshot()
    assert contents(found) == contents(expected)
    assert answers(found) == answers(expected) == brute_force(found, contents(found))
    assert len(found.segments[Modality.IMAGE]) == 1
    assert not cache.is_due(found, rest_s=0.0)  # the segment has its file already


def test_what_was_written_since_comes_from_the_store(saved: Saved) -> None:
    """Upserts, updates and deletions above the files' revision: the rows of the files are used, the rest is read."""

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            for number in range(3):
                await change(writer, seed=100 + number, ids=("i3", f"i{700 + number}"))

    asyncio.run(write())
    expected = saved.load().snapshot()
    found = saved.load(cache=saved.cache).snapshot()
    assert contents(found) == contents(expected)
    assert found.revision == expected.revision
    assert answers(found) == answers(expected) == brute_force(found, contents(found))
    first, *_ = found.segments[Modality.IMAGE]
    assert first.segment.rows > IMAGES - 10
    assert first.dead_count > 0


def _fold(saved: Saved, *, erased: int = 0) -> None:
    """Change, delete and fold, in a table that goes on being the writer's."""

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await change(writer, seed=300, ids=("i3", "i900"))

    asyncio.run(write())
    table = EventTable.open(saved.paths.events(TENANT, saved.entry.uuid), durable=False)
    assert table.fold(request_ids_count=10, least_dead=1, erased=erased) > 0


def test_files_stay_of_use_when_the_store_is_folded(saved: Saved) -> None:
    """Rows that were superseded after the file was written are gone from the store: they are dead, the others count."""
    _fold(saved)
    expected = saved.load().snapshot()
    found = saved.load(cache=saved.cache).snapshot()
    assert contents(found) == contents(expected)
    assert answers(found) == answers(expected) == brute_force(found, contents(found))
    first, *_ = found.segments[Modality.IMAGE]
    assert first.segment.rows > IMAGES - 10
    assert first.dead_count > 0
    assert len(saved.files) == 1


def test_a_file_that_may_hold_what_was_erased_is_removed(saved: Saved) -> None:
    """A searcher that nobody told of the erasure finds out at its next start."""
    _fold(saved, erased=saved.load().snapshot().revision)
    expected = saved.load().snapshot()
    assert contents(saved.load(cache=saved.cache).snapshot()) == contents(expected)
    assert not saved.files


def test_only_rows_that_no_file_holds_are_read(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,552 events a start reads the texts, the deletions, what was superseded and the settings: 50, not 1,500."""
    taken: list[int] = []
    take = EventView.take

    def counting(view: EventView, row_ids: Any, **options: bool) -> pa.Table:
        taken.append(len(row_ids))
        return take(view, row_ids, **options)

    monkeypatch.setattr(EventView, "take", counting)
    saved.load(cache=saved.cache)
    assert max(taken) < TEXTS + 15


def test_files_of_another_history_are_refused(saved: Saved, tmp_path: Path) -> None:
    """Another store under the same uuid, as a restored copy may be: equal row ids, ids and revisions, other vectors."""
    fill(tmp_path / "other", seed=1_000)
    other = Saved.at(tmp_path / "other", saved.folder)
    cache = CollectionCache(saved.folder, saved.entry.uuid, other.entry.settings, is_owner=True)
    found = other.load(cache=cache).snapshot()
    assert contents(found) == contents(other.load().snapshot())
    assert contents(found).keys() >= {"i0", "i100"}
    assert not saved.files  # refused for good


def test_files_that_know_more_than_the_store_are_refused(saved: Saved, tmp_path: Path) -> None:
    """A store from before the files were written, as a restored backup is, does not hold all of their rows."""
    shutil.copytree(saved.paths.root, tmp_path / "backup")

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await upsert(writer, images([f"late{number}" for number in range(20)]), vectors(3, 20))

    asyncio.run(write())
    saved.save()
    before = Saved.at(tmp_path / "backup", saved.folder)
    found = before.load(cache=before.cache).snapshot()
    assert contents(found) == contents(before.load().snapshot())
    assert "late0" not in contents(found)
    assert not saved.files


def test_rows_that_were_folded_away_do_not_count_and_go(saved: Saved) -> None:
    """Deleted items leave the store with the next fold; the files serve on, and are written anew without them."""

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await writer.delete(TENANT, "things", ids=["i777", "i778"], request_id=request_id())
            await upsert(writer, images(["i3"]), vectors(12, 1))

    asyncio.run(write())
    table = EventTable.open(saved.paths.events(TENANT, saved.entry.uuid), durable=False)
    assert table.fold(request_ids_count=100, least_dead=1) > 0
    _check_renewed(saved, gone=b"i777")


def _check_renewed(saved: Saved, *, gone: bytes) -> None:
    """Check that a start uses a file whose rows are not all there, and that the next one holds none such."""
    expected = contents(saved.load().snapshot())
    (before,) = saved.files
    assert gone in before.read_bytes()
    cache = saved.cache
    follower = saved.load(cache=cache)
    found = follower.snapshot()
    assert contents(found) == expected
    assert found.segments[Modality.IMAGE][0].dead_count > 0  # from the file, not from the store
    assert cache.is_due(found, rest_s=0.0)
    cache.save(found, follower.fresh_view(), reserve_bytes=0)
    (after,) = saved.files
    assert gone not in after.read_bytes()
    assert not cache.is_due(found, rest_s=0.0)
    again = saved.cache
    assert contents(saved.load(cache=again).snapshot()) == expected
    assert saved.files == [after]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.FLAT_FLOAT32])
def test_structures_come_back_with_their_segments(saved: Saved, kind: Kind) -> None:
    """Equal answers to the last bit, candidates too; vectors stay in the file; nothing is trained or built again."""
    follower = saved.load()
    whole = arranged(follower.snapshot(), kind)
    saved.cache.save(whole, follower.fresh_view(), reserve_bytes=0)
    cache = saved.cache
    found = saved.load(cache=cache).snapshot()
    (part,), (old,) = found.segments[Modality.IMAGE], whole.segments[Modality.IMAGE]
    assert part.segment.arranged is not None
    assert old.segment.arranged is not None
    assert part.segment.arranged.effort == old.segment.arranged.effort
    structures = [side.segment.arranged.structure for side in (part, old) if side.segment.arranged is not None]
    asked = whole.query_rows(QUERIES, Modality.IMAGE)
    candidates = [one.candidates(asked, 20, probes=4, allowed=None) for one in structures]
    np.testing.assert_array_equal(candidates[0], candidates[1])
    assert structures[0].kind is structures[1].kind is kind
    assert answers(found) == answers(whole)
    assert contents(found) == contents(whole)
    assert found.structures == whole.structures
    assert part.segment.vector_bytes == 0
    assert not cache.is_due(found, rest_s=0.0)


def test_a_structure_whose_segment_lost_rows_is_not_kept(saved: Saved) -> None:
    """Codes of what was taken out of the store would stay in it: what is live is written, and no structure."""
    follower = saved.load()
    whole = arranged(follower.snapshot(), Kind.HNSW)

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await writer.delete(TENANT, "things", ids=["i777"], request_id=request_id())

    asyncio.run(write())
    table = EventTable.open(saved.paths.events(TENANT, saved.entry.uuid), durable=False)
    assert table.fold(request_ids_count=100, least_dead=1) > 0
    saved.cache.save(whole, follower.fresh_view(), reserve_bytes=0)
    found = saved.load(cache=saved.cache).snapshot()
    assert contents(found) == contents(saved.load().snapshot())
    assert found.segments[Modality.IMAGE][0].segment.arranged is None
    assert b"i777" not in saved.files[0].read_bytes()


def test_files_under_another_aligner_are_of_no_use(saved: Saved) -> None:
    """After a promotion everything is built from the store, and the files go."""

    async def promote() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await writer.set_aligner(TENANT, "things", aligner=identity(), terms=UNVERIFIED, request_id=request_id())

    asyncio.run(promote())
    found = saved.load(cache=saved.cache).snapshot()
    assert contents(found) == contents(saved.load().snapshot())
    assert not saved.files


def test_what_was_merged_and_what_it_was_merged_of_are_not_both_used(saved: Saved) -> None:
    """Files of two generations hold the same rows; each item is live once, and the file that adds nothing goes."""

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await upsert(writer, images([f"more{number}" for number in range(30)]), vectors(4, 30))

    (old,) = saved.files
    kept = old.read_bytes()
    asyncio.run(write())
    saved.save()
    old.write_bytes(kept)
    assert len(saved.files) == 2
    found = saved.load(cache=saved.cache).snapshot()
    assert contents(found) == contents(saved.load().snapshot())
    assert old not in saved.files
    assert len(saved.files) == 1


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_row_is_noticed_though_files_hold_the_items(saved: Saved, damage: str) -> None:
    """Rows that say which event of an id is the newest decide what is alive: each is verified still (promise D3).

    An item that the files hold was deleted since, and one was stored again; the sums of the store's own files are taken
    away, so that nothing but the rows' digests can notice.
    """

    async def write() -> None:
        async with running_writer(Path(saved.paths.root)) as writer:
            await writer.delete(TENANT, "things", ids=["i9"], request_id=request_id())
            await upsert(writer, images(["i10"]), vectors(9, 1))

    asyncio.run(write())
    uri = saved.paths.events(TENANT, saved.entry.uuid)
    rows = _lance.dataset(uri).to_table()
    places = {
        item_id: np.flatnonzero(pc.equal(rows["id"], item_id).to_numpy()).tolist() for item_id in ("i9", "i10", "i11")
    }
    column = _DAMAGES[damage]
    values = rows[column].to_pylist()
    match damage:
        case "a deletion is of another id":  # i9 would be there again
            values[places["i9"][-1]] = "i77"
        case "an item is a deletion":
            values[places["i11"][-1]] = Op.DELETE.value
        case "two events of an id change places":
            older, newer = places["i10"]
            values[older], values[newer] = values[newer], values[older]
        case "an item is of another id":  # the older i10 would be there again
            values[places["i10"][-1]] = "i11"
    field = rows.schema.field(column)
    damaged = rows.set_column(rows.schema.names.index(column), field, pa.array(values, field.type))
    shutil.rmtree(uri)
    _lance.write_dataset(damaged, uri, enable_stable_row_ids=True)
    follower = saved.load(cache=saved.cache)
    assert isinstance(follower.failure, DataLossError)
    assert follower.failure.reason == "STORE_DAMAGED"
    assert not follower.loaded


def test_files_of_the_whole_are_of_no_use_to_a_part(saved: Saved) -> None:
    """A searcher that is given a part of every collection answers with none of the others' items, files or not."""
    part = Shard(0, 2)
    cache = CollectionCache(saved.folder, saved.entry.uuid, saved.entry.settings, shard=part, is_owner=True)
    plain = Follower(TENANT, saved.entry, saved.paths, shard=part)
    follower = Follower(TENANT, saved.entry, saved.paths, shard=part, recall=cache.recall)
    for one in (plain, follower):
        one.follow()
    expected = contents(plain.snapshot())
    assert contents(follower.snapshot()) == expected
    assert len(expected) < IMAGES
    assert not saved.files
