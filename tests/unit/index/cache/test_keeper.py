"""A searcher that keeps its structures in a folder between starts."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import faiss
import pytest

from isthmus.core.modality import Modality
from isthmus.index.cache.container import Container
from isthmus.index.engine import SearcherEngine
from isthmus.index.metrics import CACHE_BYTES, CACHE_FAILURES, CACHE_ROWS, STRUCTURE_RECALL, STRUCTURE_SECONDS
from isthmus.index.structure_state import StructureState
from tests.unit.index.cache.saved import IMAGES, QUERIES, change, fill
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    identity,
    images,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_WAIT_S: Final = 20.0


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


async def _answers(searcher: SearcherEngine) -> list[list[tuple[str, float]]]:
    found = await searcher.search(
        TENANT, "things", modality=Modality.IMAGE, space=SPACE, queries=QUERIES, top_k=10, timeout_s=_WAIT_S
    )
    return [[(neighbor.item.id, neighbor.score) for neighbor in neighbors] for neighbors in found.neighbors]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.cache"))


def _failures(why: str) -> float:
    return CACHE_FAILURES.labels(why)._value.get()  # type: ignore[no-any-return]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one collection that is worth a file."""
    fill(tmp_path / "store")
    return tmp_path / "store"


async def test_a_second_start_reads_files_and_answers_alike(store: Path, tmp_path: Path) -> None:
    """Written once the segments have stood; only this user may look in; read by the next start, news included."""
    folder = tmp_path / "cache"
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.05) as searcher:
        await _until(lambda: bool(_files(folder)))
        expected = await _answers(searcher)
    (file,) = _files(folder)
    for inner in (folder, file.parent):
        assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    before = CACHE_ROWS._value.get()
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.05) as searcher:
        assert await _answers(searcher) == expected
    assert CACHE_ROWS._value.get() - before == IMAGES + 1 - 2
    assert _files(folder) == [file]

    async with running_writer(store) as writer:
        await change(writer, seed=3)
    async with running_searcher(store) as plain, running_searcher(store, cache_dir=folder) as searcher:
        assert await _answers(searcher) == await _answers(plain)


async def test_structures_are_read_and_not_built_again(tmp_path: Path) -> None:
    """A second start answers from the structures of the first one at once, and tells the same of them."""
    folder, options = tmp_path / "cache", {"cache_rest_s": 0.0, "structure_min_rows": 1_000}
    async with running_writer(tmp_path / "store") as writer:
        await create(writer, settings=replace(ONE_SPACE, index="ivf_sq8"), aligner=center())
        for start in (0, 1_000):
            ids = [f"i{number}" for number in range(start, start + 1_000)]
            await upsert(writer, images(ids), vectors(start, 1_000))
    async with running_searcher(tmp_path / "store", cache_dir=folder, **options) as searcher:
        async with asyncio.timeout(_WAIT_S):
            while True:
                report = (await searcher.structure_reports(TENANT, "things"))[Modality.IMAGE]
                if report.state is StructureState.READY:
                    break
                await asyncio.sleep(0.02)
        await _until(lambda: any(_holds_structure(file) for file in _files(folder)) and len(_files(folder)) == 1)
        expected = await _answers(searcher)
    (folder / "vectors-of-a-process-that-died.tmp").write_bytes(b"x")
    built = STRUCTURE_SECONDS._sum.get()
    async with running_searcher(tmp_path / "store", cache_dir=folder, **options) as searcher:
        assert (await searcher.structure_reports(TENANT, "things"))[Modality.IMAGE] == report
        assert await _answers(searcher) == expected
        labels = (TENANT, "things", "image", "ivf_sq8")
        await _until(lambda: STRUCTURE_RECALL.labels(*labels)._value.get() == report.recall)
    assert STRUCTURE_SECONDS._sum.get() == built
    assert not list(folder.glob("*.tmp"))


def _holds_structure(file: Path) -> bool:
    with Container.open(file) as container:
        return "faiss" in container.lengths


async def test_files_follow_the_collection(store: Path, tmp_path: Path) -> None:
    """A promotion replaces them, a deletion of the collection removes them."""
    folder = tmp_path / "cache"
    async with running_writer(store) as writer, running_searcher(store, cache_dir=folder, cache_rest_s=0.0) as searcher:
        await _until(lambda: bool(_files(folder)))
        first = _files(folder)
        await writer.set_aligner(TENANT, "things", aligner=identity(), terms=UNVERIFIED, request_id=request_id())
        await _until(lambda: bool(_files(folder)) and _files(folder) != first and len(_files(folder)) == 1)
        await _answers(searcher)
        await _until(lambda: CACHE_BYTES.labels(TENANT, "things")._value.get() == _files(folder)[0].stat().st_size)
        await writer.delete_collection(TENANT, "things", request_id=request_id())
        await create(writer, "other")
        await _until(lambda: not list((folder / TENANT).iterdir()))


async def test_files_of_collections_that_went_meanwhile_are_removed(store: Path, tmp_path: Path) -> None:
    """What was deleted while nobody searched does not stay on the disk of a searcher."""
    folder = tmp_path / "cache"
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.0):
        await _until(lambda: bool(_files(folder)))
    async with running_writer(store) as writer:
        await writer.delete_collection(TENANT, "things", request_id=request_id())
    async with running_searcher(store, cache_dir=folder):
        await _until(lambda: not list((folder / TENANT).iterdir()))


async def test_a_second_process_reads_and_leaves_the_files_alone(store: Path, tmp_path: Path) -> None:
    """Two searchers with one folder: the second one starts from the files, and never removes anything."""
    folder = tmp_path / "cache"
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.05) as first:
        await _until(lambda: bool(_files(folder)))
        (folder / TENANT / "not-a-collection").mkdir()
        before = CACHE_ROWS._value.get()
        async with running_searcher(store, cache_dir=folder, cache_rest_s=0.0) as second:
            assert CACHE_ROWS._value.get() > before
            assert await _answers(second) == await _answers(first)
            async with running_writer(store) as writer:
                await upsert(writer, images([f"n{number}" for number in range(1_000)]), vectors(9, 1_000))
                await second.get_items(TENANT, "things", ids=["n1"], min_revision=6, timeout_s=_WAIT_S)
        assert (folder / TENANT / "not-a-collection").exists()
        assert _files(folder)


async def test_a_disk_without_room_means_no_cache_and_nothing_else(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Less free than what is left to others: the file is not written, which is logged and counted; searches go on."""
    before = _failures("write")
    with caplog.at_level(logging.WARNING, "isthmus.index"):
        async with running_searcher(
            store, cache_dir=tmp_path / "cache", cache_rest_s=0.0, disk_reserve_bytes=1 << 60
        ) as searcher:
            await _until(lambda: _failures("write") > before)
            assert all(await _answers(searcher))
    assert not _files(tmp_path / "cache")
    assert "cannot write cache files" in caplog.text


async def test_a_folder_that_cannot_be_made_means_no_cache_and_nothing_else(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where the folder should be, as on a disk that is read-only."""
    (tmp_path / "cache").write_text("in the way")
    before = _failures("write")
    with caplog.at_level(logging.WARNING, "isthmus.index"):
        async with running_searcher(store, cache_dir=tmp_path / "cache" / "inner", cache_rest_s=0.0) as searcher:
            assert all(await _answers(searcher))
    assert _failures("write") == before + 1
    assert "there can be no cache files" in caplog.text


async def test_a_damaged_file_is_counted_and_replaced(store: Path, tmp_path: Path) -> None:
    """One flipped bit: refused, read from the store, and written anew by the same process."""
    folder = tmp_path / "cache"
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.05) as searcher:
        await _until(lambda: bool(_files(folder)))
        expected = await _answers(searcher)
    (file,) = _files(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:])
    before = _failures("damaged")
    async with running_searcher(store, cache_dir=folder, cache_rest_s=0.05) as searcher:
        assert _failures("damaged") == before + 1
        assert await _answers(searcher) == expected
        await _until(lambda: bool(_files(folder)))
    read = CACHE_ROWS._value.get()
    async with running_searcher(store, cache_dir=folder):
        assert faiss.get_deserialization_vector_byte_limit() == 131_072 * 8_192 * 4
        assert CACHE_ROWS._value.get() > read
