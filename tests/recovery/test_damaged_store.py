"""A damaged file of the store is noticed and never becomes a wrong answer (promises D2, D3)."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus.core.modality import Modality
from isthmus.index.catalog import CatalogEntry, StorePaths, read_catalog
from isthmus.index.follower import Follower
from isthmus.index.snapshot import Snapshot
from isthmus.index.table import AppendTable
from isthmus.runtime.base.errors import DataLossError, NotFoundError
from isthmus.runtime.base.object_store import ObjectStore
from tests.unit.index.support import (
    TENANT,
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

_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_LONG = os.environ.get("ISTHMUS_TEST_LONG") == "1"
_DATA_FLIPS = 2_000 if _LONG else 400
_MANIFEST_FLIPS = 500 if _LONG else 150
_CUTS = 50
_COMMITS = 4
_ROWS = 8
_numbers = itertools.count()

Contents = dict[str, tuple[bytes, ...]]


class _Store:
    """One collection's files, whole, and what they hold; copies of it are damaged."""

    def __init__(self, root: Path) -> None:
        self._scratch = root / "damaged"
        self.paths = StorePaths.at(root, ObjectStore())
        catalog = AppendTable.open(self.paths.catalog(TENANT), durable=False)
        self.entry: CatalogEntry = read_catalog(catalog.view())["things"]
        self.table = Path(self.paths.events(TENANT, self.entry.uuid))
        self.whole = self.read(self.paths)

    @contextlib.contextmanager
    def damaged(self, file: Path, damage: Callable[[bytes], bytes | None]) -> Iterator[StorePaths]:
        """Give the paths of a copy of the store in which one file is damaged, or gone for None.

        A copy has a place of its own: Lance remembers what it has read of a table by the table's place.
        """
        folder = self._scratch / str(next(_numbers))
        paths = StorePaths.at(folder, ObjectStore())
        table = Path(paths.events(TENANT, self.entry.uuid))
        shutil.copytree(self.table, table, copy_function=os.link)
        damaged = damage(file.read_bytes())
        copy = table / file.relative_to(self.table)
        copy.unlink()
        if damaged is not None:
            copy.write_bytes(damaged)
        yield paths
        shutil.rmtree(folder)

    def read(self, paths: StorePaths) -> Contents:
        """Return what a searcher finds; it is what the searcher itself runs to open a collection."""
        follower = Follower(TENANT, self.entry, paths)
        follower.follow()
        return _contents(follower.snapshot())


def _contents(snapshot: Snapshot) -> Contents:
    found: Contents = {"": (str(snapshot.revision).encode(), snapshot.space(Modality.IMAGE).encode())}
    for parts in snapshot.segments.values():
        for part in parts:
            for row in part.live_rows.tolist():
                values = [
                    str(part.segment.value(name, row)).encode() for name in ("attributes", "pair_key", "revision")
                ]
                found[part.segment.id_at(row)] = (part.segment.vectors[row].tobytes(), *values)
    return found


async def _make(root: Path) -> None:
    async with running_writer(root, compact_fan_out=1_000) as writer:
        await create(writer, aligner=center())
        for commit in range(_COMMITS):
            ids = [f"{commit}-{row}" for row in range(_ROWS)]
            await upsert(writer, images(ids), vectors(commit, _ROWS))
            await upsert(writer, texts([f"of {item_id}" for item_id in ids]), vectors(100 + commit, _ROWS))
        await writer.delete(TENANT, "things", ids=["0-0", "of 1-1"], request_id=request_id())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> _Store:
    """A collection of some commits, compacted by none of them."""
    root = tmp_path_factory.mktemp("whole")
    asyncio.run(_make(root))
    return _Store(root)


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _newest_files(table: Path) -> tuple[Path, Path]:
    """Return what the newest commit wrote that a reader reads: its manifest, and its data file."""
    # Lance names manifests so that the newest sorts first.
    manifest = min((table / "_versions").glob("*.manifest"))
    return manifest, max((table / "data").iterdir(), key=lambda file: file.stat().st_mtime_ns)


def _outcome(store: _Store, paths: StorePaths) -> str:
    try:
        found = store.read(paths)
    except DataLossError as error:
        return error.reason
    return "as it was" if found == store.whole else "WRONG"


@pytest.mark.timeout(300)
def test_a_flipped_bit_in_a_data_file_never_becomes_a_wrong_answer(store: _Store) -> None:
    """Flips of one bit, 2,000 in the long version: refused as damage. ISTHMUS_TEST_SEED repeats a run."""
    chance = random.Random(_SEED)
    files = sorted((store.table / "data").iterdir())
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(_DATA_FLIPS):
        with store.damaged(chance.choice(files), lambda data: _flipped(data, chance)) as paths:
            outcomes[_outcome(store, paths)] += 1
    print(f"seed {_SEED}: {dict(outcomes)}")
    assert outcomes == {"STORE_DAMAGED": _DATA_FLIPS}  # 2,000 of 2,000; by the rows' own digests alone 76 %


@pytest.mark.timeout(120)
def test_a_flipped_bit_in_the_newest_manifest_never_becomes_a_wrong_answer(store: _Store) -> None:
    """Flips of one bit of the file that says which files a version is made of; 500 in the long version."""
    chance = random.Random(_SEED)
    manifest, _ = _newest_files(store.table)
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(_MANIFEST_FLIPS):
        with store.damaged(manifest, lambda data: _flipped(data, chance)) as paths:
            outcomes[_outcome(store, paths)] += 1
    print(f"seed {_SEED}: {dict(outcomes)}")
    assert set(outcomes) <= {"STORE_DAMAGED", "as it was"}


@pytest.mark.parametrize("number", [0, 1], ids=["manifest", "data"])
def test_a_cut_file_of_the_newest_commit_is_noticed(store: _Store, number: int) -> None:
    """The manifest and the data file of the newest commit, cut at 50 random lengths each: all are refused."""
    chance = random.Random(_SEED)
    file = _newest_files(store.table)[number]
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(_CUTS):
        with store.damaged(file, lambda data: data[: chance.randrange(len(data))]) as paths:
            outcomes[_outcome(store, paths)] += 1
    print(f"seed {_SEED}: {dict(outcomes)}")
    assert outcomes == {"STORE_DAMAGED": _CUTS}


@pytest.mark.parametrize("number", [0, 1], ids=["manifest", "data"])
def test_a_missing_file_of_the_newest_commit_is_noticed(store: _Store, number: int) -> None:
    """Lance alone opens the version before without a word when a manifest is gone; what was acknowledged is missed."""
    with store.damaged(_newest_files(store.table)[number], lambda _: None) as paths:
        assert _outcome(store, paths) == "STORE_DAMAGED"


async def test_a_damaged_collection_does_not_harm_its_neighbours(tmp_path: Path) -> None:
    """A searcher says DATA_LOSS for the damaged one, STORE_DAMAGED, and serves the other; the writer does so too."""
    async with running_writer(tmp_path) as writer:
        for name in ("things", "whole"):
            await create(writer, name)
            await upsert(writer, images(["a"]), vectors(0, 1), name=name)
    store = _Store(tmp_path)
    for file in _newest_files(store.table):
        file.write_bytes(file.read_bytes()[:100])

    async with running_searcher(tmp_path) as searcher:
        with pytest.raises(DataLossError, match="damaged") as caught:
            await searcher.get_items(TENANT, "things", ids=["a"])
        assert caught.value.reason == "STORE_DAMAGED"
        _, found = await searcher.get_items(TENANT, "whole", ids=["a"])
        assert [item.id for item in found] == ["a"]

    async with running_writer(tmp_path) as writer:
        with pytest.raises(DataLossError, match="damaged"):
            await upsert(writer, images(["b"]), vectors(1, 1))
        result = await upsert(writer, images(["b"]), vectors(1, 1), name="whole")
        assert result.created_count == 1
        await writer.delete_collection(TENANT, "things", request_id=request_id())
        with pytest.raises(NotFoundError):
            await upsert(writer, images(["b"]), vectors(1, 1))
