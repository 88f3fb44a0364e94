"""A full disk refuses writes with a reason, keeps reads, and needs no restart once there is room (promise D9)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.searcher import SearcherEngine
from isthmus.runtime.base.errors import ResourceExhaustedError
from tests.unit.index.support import (
    SPACE,
    TENANT,
    create,
    images,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_DISK_BYTES = 2 * 1024 * 1024
_ROWS = 16


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def _fill(disk: Path, *, leave_bytes: int) -> Path:
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, _free(disk) - leave_bytes)))
    return filler


async def _is_found(searcher: SearcherEngine, row: int) -> bool:
    query = vectors(0, _ROWS)[row : row + 1]
    result = await searcher.search(
        TENANT, "things", modality=Modality.IMAGE, space=SPACE, queries=query, top_k=1, min_revision=2
    )
    return result.neighbors[0][0].item.id == f"0-{row}"


@pytest.mark.parametrize("reserve_bytes", [0, 256 * 1024], ids=["to-the-last-byte", "with-a-reserve"])
async def test_a_full_disk_refuses_writes_keeps_reads_and_heals_without_a_restart(
    disk: Path, reserve_bytes: int
) -> None:
    """RESOURCE_EXHAUSTED, DISK_FULL; every search beside is answered; nothing acknowledged is lost, nothing doubled."""
    async with (
        running_writer(disk, compact_fan_out=1_000, disk_reserve_bytes=reserve_bytes) as writer,
        running_searcher(disk) as searcher,
    ):
        await create(writer)
        await upsert(writer, images([f"0-{row}" for row in range(_ROWS)]), vectors(0, _ROWS))
        filler = _fill(disk, leave_bytes=max(reserve_bytes, 40_000) - 20_000)
        refused: list[int] = []
        reasons: set[tuple[str, float | None]] = set()
        for number in range(1, 12):
            ids = [f"{number}-{row}" for row in range(_ROWS)]
            try:
                await upsert(writer, images(ids), vectors(number, _ROWS), request=f"write-{number}")
            except ResourceExhaustedError as error:
                refused.append(number)
                reasons.add((error.reason, error.retry_after_s))
            assert await _is_found(searcher, number)
        assert reasons == {("DISK_FULL", None)}
        if reserve_bytes:
            _, deleted = await writer.delete(TENANT, "things", ids=["0-0"], request_id=request_id())
            assert deleted == 1

        filler.unlink()
        for number in refused:
            ids = [f"{number}-{row}" for row in range(_ROWS)]
            await upsert(writer, images(ids), vectors(number, _ROWS), request=f"write-{number}")
        info = await writer.get_collection(TENANT, "things")

        reader = await searcher.read_items(TENANT, "things", min_revision=info.revision)
        found = {
            item_id: row
            async for batch in reader.batches
            for item_id, row in zip(batch.ids, batch.embeddings, strict=True)
        }
    expected = {f"{number}-{row}": vectors(number, _ROWS)[row] for number in range(12) for row in range(_ROWS)}
    if reserve_bytes:
        del expected["0-0"]
    assert sorted(found) == sorted(expected)
    for item_id, row in found.items():
        np.testing.assert_array_equal(row, expected[item_id])


async def test_a_full_disk_refuses_new_collections(disk: Path) -> None:
    """The collection is not there afterwards, and can be created once there is room."""
    async with running_writer(disk, disk_reserve_bytes=0) as writer:
        await create(writer, "first")
        filler = _fill(disk, leave_bytes=4_096)
        with pytest.raises(ResourceExhaustedError) as caught:
            await create(writer, "second")
        assert caught.value.reason == "DISK_FULL"
        filler.unlink()
        await create(writer, "second")
        listed = await writer.list_collections(TENANT)
        assert [info.name for info in listed] == ["first", "second"]
