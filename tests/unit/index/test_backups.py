"""Backups: a copy that proves itself, and a restore that only ever adds revisions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.index.backups import MANIFEST_FILE, BackupManifest
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.model import NewItem
from isthmus.index.restore import RestoreResult
from isthmus.index.spool import PART_MAX_BYTES, Spool
from isthmus.runtime.base.errors import (
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from tests.unit.index.support import (
    DIMENSION,
    ONE_SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    images,
    request_id,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)

_Parts = list[tuple[str, bytes]]
_Items = dict[str, tuple[dict[str, object], str, bytes, NDArray[np.float32]]]


async def _backup(searcher: SearcherEngine, revision: int = 0, name: str = "things") -> _Parts:
    return [part async for part in await searcher.backup(TENANT, name, min_revision=revision)]


async def _restore(
    writer: WriterEngine, parts: _Parts, name: str = "things", to_revision: int = 0, request: str = ""
) -> RestoreResult:
    spool = Spool()
    try:
        for file, data in parts:
            spool.take(file, data)
        return await writer.restore(TENANT, name, spool, to_revision=to_revision, request_id=request or request_id())
    finally:
        spool.close()


async def _contents(searcher: SearcherEngine, revision: int, name: str = "things") -> _Items:
    reader = await searcher.read_items(TENANT, name, min_revision=revision)
    ids = [item_id async for batch in reader.batches for item_id in batch.ids]
    found: _Items = {}
    for start in range(0, len(ids), 500):
        _, items = await searcher.get_items(
            TENANT, name, ids=ids[start : start + 500], include_embeddings=True, include_thumbnails=True
        )
        for item in items:
            assert item.embedding is not None
            found[item.id] = (dict(item.attributes), item.pair_key, item.thumbnail, item.embedding)
    return found


def _same(one: _Items, other: _Items) -> bool:
    return one.keys() == other.keys() and all(
        one[key][:3] == other[key][:3] and np.array_equal(one[key][3], other[key][3]) for key in one
    )


def _items(rng: random.Random, count: int) -> list[NewItem]:
    made = []
    for item_id in sorted({f"i{rng.randrange(40)}" for _ in range(count)}):
        item = (images if rng.random() < 0.5 else texts)([item_id])[0]
        made.append(
            replace(
                item,
                attributes={"n": rng.randrange(5)},
                pair_key=f"p{rng.randrange(9)}",
                thumbnail=rng.randbytes(rng.choice([0, 7])),
            )
        )
    return made


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[tuple[WriterEngine, SearcherEngine]]:
    """A writer and a searcher over one store, with an empty collection."""
    async with running_writer(tmp_path / "store") as writer, running_searcher(tmp_path / "store") as searcher:
        await create(writer)
        yield writer, searcher


async def _step(writer: WriterEngine, rng: random.Random, seed: int) -> int:
    kind = rng.random()
    if kind < 0.6:
        items = _items(rng, rng.randint(1, 9))
        return (await upsert(writer, items, vectors(seed, len(items)))).revision
    if kind < 0.85:
        ids = [f"i{rng.randrange(40)}" for _ in range(5)]
        return (await writer.delete(TENANT, "things", ids=ids, request_id=request_id()))[0]
    if kind < 0.95:
        files = center(rng.randrange(3))
        return (
            await writer.set_aligner(TENANT, "things", aligner=files, terms=UNVERIFIED, request_id=request_id())
        ).revision
    return (await writer.get_collection(TENANT, "things")).revision


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_is_brought_back_to_any_revision_that_a_backup_holds(
    seed: int, mesh: tuple[WriterEngine, SearcherEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random upserts, deletions, promotions and folds; backups at random points; restored in place and anew.

    What is there equals what was there, thumbnails and vectors bit for bit, and every revision is above all before it.
    """
    if seed % 2:  # what counts no more is taken out every few commits
        for name, value in (("_DEAD_MIN_COUNT", 4), ("_DEAD_SHARE", 0.0), ("_ANSWERS_SHARE", 0.0)):
            monkeypatch.setattr(f"isthmus.index.upkeep.{name}", value)
    writer, searcher = mesh
    rng = random.Random(seed)
    states: dict[int, tuple[_Items, str]] = {}
    backups: list[_Parts] = []
    revision = 1
    for step in range(30):
        revision = max(revision, await _step(writer, rng, 100 * seed + step))
        info = await writer.get_collection(TENANT, "things")
        states[revision] = (await _contents(searcher, revision), info.aligner)
        if rng.random() < 0.15:
            backups.append(await _backup(searcher, revision))
        if backups and rng.random() < 0.1:
            parts = rng.choice(backups)
            manifest = BackupManifest.from_json(parts[0][1])
            held = [known for known in states if manifest.oldest_revision <= known <= manifest.revision]
            target = rng.choice([*held, manifest.revision])
            done = await _restore(writer, parts, to_revision=target)
            assert done.revision == target
            assert done.info.revision > revision
            revision = done.info.revision
            states[revision] = (await _contents(searcher, revision), done.info.aligner)
            assert _same(states[revision][0], states[target][0])
            assert done.info.aligner == states[target][1]
    backups.append(await _backup(searcher, revision))
    manifest = BackupManifest.from_json(backups[-1][0][1])
    assert (manifest.oldest_revision > 1) == bool(seed % 2)
    for target in (0, manifest.oldest_revision if manifest.oldest_revision in states else revision):
        done = await _restore(writer, backups[-1], f"copy{target}", to_revision=target)
        assert done.info.revision > manifest.revision
        found = await _contents(searcher, done.info.revision, f"copy{target}")
        expected = states[target or revision]
        assert _same(found, expected[0])
        assert done.info.aligner == expected[1]
    # The copy is a collection like any other: written to, and read again from the store.
    written = (await upsert(writer, images(["new"]), vectors(7, 1), name="copy0")).revision
    assert written == manifest.revision + 2
    async with running_searcher(tmp_path / "store") as fresh:
        assert set(await _contents(fresh, written, "copy0")) == set(states[revision][0]) | {"new"}


async def test_a_backup_is_of_one_revision_whatever_is_written_meanwhile(
    mesh: tuple[WriterEngine, SearcherEngine],
) -> None:
    """Between the first part and the last a hundred commits come; none of them is in it."""
    writer, searcher = mesh
    revision = (await upsert(writer, images(["a", "b"]), vectors(1, 2))).revision
    parts: _Parts = []
    async for part in await searcher.backup(TENANT, "things", min_revision=revision):
        parts.append(part)
        for seed in range(50):
            await upsert(writer, images(["a"]), vectors(seed + 10, 1))
    manifest = BackupManifest.from_json(parts[0][1])
    assert (manifest.revision, manifest.image_count, manifest.text_count) == (revision, 2, 0)
    newest = (await writer.get_collection(TENANT, "things")).revision
    done = await _restore(writer, parts)
    assert (done.answer.updated_count, done.answer.unchanged_count, done.answer.created_count) == (1, 1, 0)
    found = await _contents(searcher, done.info.revision)
    assert np.array_equal(found["a"][3], vectors(1, 2)[0])
    assert done.info.revision > newest


async def test_readers_see_all_of_a_restore_or_nothing(mesh: tuple[WriterEngine, SearcherEngine]) -> None:
    """Deletions, upserts and the aligner are one commit: whoever asks for any revision of it gets the last one."""
    writer, searcher = mesh
    await upsert(writer, images(["a", "b"]), vectors(1, 2))
    parts = await _backup(searcher, 2)
    await writer.delete(TENANT, "things", ids=["a"], request_id=request_id())
    await upsert(writer, images(["c"]), vectors(2, 1))
    before = await writer.set_aligner(TENANT, "things", aligner=center(1), terms=UNVERIFIED, request_id=request_id())
    done = await _restore(writer, parts)
    # One revision each for deleting c, putting a back, taking the aligner away, and the mark at the end.
    assert done.info.revision == before.revision + 4
    revision, items = await searcher.get_items(TENANT, "things", ids=["a", "b", "c"], min_revision=before.revision + 1)
    assert revision == done.info.revision
    assert [item.id for item in items] == ["a", "b"]
    assert done.info.aligner == ""
    history = await writer.promotions(TENANT, "things")
    assert history.promotions[0].override_reason == "restored to revision 2 of a backup of things"
    # And back: what was active before the restore is what a rollback returns to.
    rolled = await writer.rollback_aligner(TENANT, "things", request_id=request_id())
    assert rolled.aligner == before.aligner


async def test_a_restore_is_applied_once_a_request_also_after_a_restart(tmp_path: Path) -> None:
    """In place and anew; the same numbers come back, and no revision more."""
    store = tmp_path / "store"
    async with running_writer(store) as writer, running_searcher(store) as searcher:
        await create(writer)
        await upsert(writer, images(["a", "b"]), vectors(1, 2))
        parts = await _backup(searcher, 2)
        await writer.delete(TENANT, "things", ids=["a"], request_id=request_id())
        first = [await _restore(writer, parts, name, request=f"r-{name}") for name in ("things", "copy")]
    async with running_writer(store) as writer:
        again = [await _restore(writer, parts, name, request=f"r-{name}") for name in ("things", "copy")]
    assert [one.info for one in again] == [one.info for one in first]
    assert [one.answer for one in again] == [one.answer for one in first]
    assert first[0].answer.created_count == 1


async def test_nothing_is_written_of_a_backup_that_is_damaged(mesh: tuple[WriterEngine, SearcherEngine]) -> None:
    """Bits flipped, files cut, left out, swapped or doubled, sums made to fit: DATA_LOSS, and the revision stays."""
    writer, searcher = mesh
    rows = [*images([f"i{number}" for number in range(30)]), *texts([f"t{number}" for number in range(30)])]
    await upsert(writer, rows, vectors(1, 60))
    parts = await _backup(searcher, 2)
    rng = random.Random(5)
    damaged: list[_Parts] = [parts[:1], parts[1:], [*parts, parts[-1]], [parts[0], (parts[1][0], parts[1][1][:-100])]]
    for place in (0, 1):
        for _ in range(20):
            file, data = parts[place]
            spot = rng.randrange(len(data))
            flipped = data[:spot] + bytes([data[spot] ^ (1 << rng.randrange(8))]) + data[spot + 1 :]
            damaged.append([*parts[:place], (file, flipped), *parts[place + 1 :]])
    for wrong in damaged:
        with pytest.raises((DataLossError, InvalidArgumentError)) as caught:
            await _restore(writer, wrong)
        assert caught.value.reason in {"BACKUP_DAMAGED", "FIELD_REQUIRED"}
    assert (await writer.get_collection(TENANT, "things")).revision == 2


async def test_a_sum_that_was_made_to_fit_does_not_hide_a_changed_row(
    mesh: tuple[WriterEngine, SearcherEngine], tmp_path: Path
) -> None:
    """Every row has a digest of its own, and every revision says how many rows it has."""
    writer, searcher = mesh
    await upsert(writer, images([f"i{number}" for number in range(30)]), vectors(1, 30))
    (file, manifest_data), (name, data) = await _backup(searcher, 2)
    manifest = BackupManifest.from_json(manifest_data)
    vector = vectors(1, 30)[3].astype("<f2").tobytes()
    assert vector in data
    changed = data.replace(vector, vectors(9, 1)[0].astype("<f2").tobytes())
    import hashlib  # noqa: PLC0415

    told = replace(manifest.files[0], digest=hashlib.sha256(changed).hexdigest())
    forged = replace(manifest, files=(told,)).to_json()
    with pytest.raises(DataLossError, match="do not match their digest"):
        await _restore(writer, [(file, forged), (name, changed)])
    with pytest.raises(DataLossError, match="end at the revision"):
        await _restore(writer, [(file, replace(manifest, revision=3).to_json()), (name, data)])


async def test_where_a_backup_may_go(mesh: tuple[WriterEngine, SearcherEngine]) -> None:
    """Not over another collection, not into other spaces, not to a revision that it does not hold."""
    writer, searcher = mesh
    await upsert(writer, images(["a"]), vectors(1, 1))
    parts = await _backup(searcher, 2)
    await create(writer, "other")
    with pytest.raises(AlreadyExistsError) as exists:
        await _restore(writer, parts, "other")
    with pytest.raises(FailedPreconditionError) as not_held:
        await _restore(writer, parts, to_revision=3)
    assert dict(not_held.value.metadata) == {"oldest": "1", "newest": "2"}
    await writer.delete_collection(TENANT, "things", request_id=request_id())
    await create(writer, "things", replace(ONE_SPACE, image_space="another@0123456789abcdef"))
    with pytest.raises(FailedPreconditionError) as spaces:
        await _restore(writer, parts)
    reasons = [caught.value.reason for caught in (exists, not_held, spaces)]
    assert reasons == ["COLLECTION_EXISTS", "REVISION_NOT_HELD", "SPACE_MISMATCH"]


def test_limits() -> None:
    """A part as large as the limit is taken, one byte more is not."""
    assert DIMENSION
    spool = Spool()
    try:
        spool.take(MANIFEST_FILE, b" " * PART_MAX_BYTES)
        with pytest.raises(ResourceExhaustedError, match=str(PART_MAX_BYTES)):
            spool.take(MANIFEST_FILE, b" " * (PART_MAX_BYTES + 1))
        for _ in range(3):
            spool.take(MANIFEST_FILE, b" " * PART_MAX_BYTES)
        with pytest.raises(ResourceExhaustedError, match="manifest has"):
            spool.take(MANIFEST_FILE, b" ")
    finally:
        spool.close()
