"""The writer dies at a chosen point of its work; what it leaves can be loaded (promise D6)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from isthmus.index import table
from isthmus.index.catalog import Catalog, StorePaths, read_catalog
from isthmus.index.engine import WriterEngine
from isthmus.index.file_sums import FileSums
from isthmus.index.fsync import StoreSync
from isthmus.index.table import AppendTable
from isthmus.runtime.base.errors import NotFoundError
from isthmus.runtime.base.object_store import ObjectStore
from tests.unit.index.support import (
    ONE_SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    identity,
    images,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_ROOT: Final = Path(__file__).resolve().parents[2]
_FAN_OUT: Final = 4
_ROWS: Final = 5
_BEFORE: Final = 2
"""Upserts before the failpoint is armed."""
_ACKNOWLEDGED: Final = "acknowledged "

Work = Callable[[WriterEngine], Awaitable[None]]


async def _store(writer: WriterEngine, number: int) -> None:
    await upsert(writer, images([f"{number}-{row}" for row in range(_ROWS)]), vectors(number, _ROWS))
    print(f"{_ACKNOWLEDGED}{number}", flush=True)


async def _compact(writer: WriterEngine) -> None:
    for number in range(_BEFORE, 4 * _FAN_OUT):
        await _store(writer, number)
    await writer.close()  # waits for maintenance


async def _clean_up(writer: WriterEngine) -> None:
    await _store(writer, _BEFORE)
    await writer.offload(lambda: _events(Path(sys.argv[1])).clean_up(0.0))


async def _promote(writer: WriterEngine) -> None:
    await writer.set_aligner(TENANT, "things", aligner=identity(), terms=UNVERIFIED, request_id="promote")


async def _create(writer: WriterEngine) -> None:
    await writer.create_collection(TENANT, "other", settings=ONE_SPACE, aligner=None, request_id="create")


async def _delete(writer: WriterEngine) -> None:
    await writer.delete_collection(TENANT, "things", request_id="delete")


def _events(folder: Path) -> AppendTable:
    paths = StorePaths.at(folder, ObjectStore())
    (entry,) = read_catalog(AppendTable.open(paths.catalog(TENANT), durable=False).view()).values()
    return AppendTable.open(paths.events(TENANT, entry.uuid), durable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failpoint:
    """Where the process dies, and what brings it there.

    Attributes:
        owner: Holds the function that is fatal.
        name: Of the function.
        after: Die once it has done its work, not before.
        work: Brings the writer there.
    """

    owner: Any
    name: str
    after: bool = False
    work: Work


_FAILPOINTS: Final = {
    "compaction written, not committed": _Failpoint(owner=table._Compaction, name="commit", work=_compact),
    "compaction committed, not synced": _Failpoint(owner=table._Compaction, name="commit", after=True, work=_compact),
    "clean-up, sums still there": _Failpoint(owner=FileSums, name="forget_removed", work=_clean_up),
    "promotion written, not committed": _Failpoint(owner=table._lance.LanceDataset, name="commit", work=_promote),
    "promotion committed, not acknowledged": _Failpoint(owner=StoreSync, name="manifest", work=_promote),
    "creation, not in the catalog": _Failpoint(owner=Catalog, name="add", work=_create),
    "deletion, files still there": _Failpoint(owner=StorePaths, name="remove", work=_delete),
}


async def _run(folder: Path, failpoint: _Failpoint) -> None:
    """Work until the process dies."""
    async with running_writer(folder, compact_fan_out=_FAN_OUT, durability="power") as writer:
        await create(writer, aligner=center())
        for number in range(_BEFORE):
            await _store(writer, number)
        fatal = getattr(failpoint.owner, failpoint.name)

        def die(*arguments: Any, **options: Any) -> None:
            if failpoint.after:
                fatal(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(failpoint.owner, failpoint.name, die)
        await failpoint.work(writer)


def _killed(folder: Path, name: str) -> list[int]:
    """Run a writer until it dies at a failpoint; return the upserts that it acknowledged."""
    script = "import tests.recovery.test_failpoints as test; test.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), name],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(_ACKNOWLEDGED)]
    return [int(line.removeprefix(_ACKNOWLEDGED)) for line in lines]


def main() -> None:
    """Be the process that dies."""
    _, folder, name = sys.argv
    asyncio.run(_run(Path(folder), _FAILPOINTS[name]))


async def _stored(folder: Path, *, min_revision: int = 0) -> tuple[dict[str, bytes], str]:
    """Return the items that a fresh searcher finds, and the aligner that it uses."""
    async with running_searcher(folder) as searcher:
        reader = await searcher.read_items(TENANT, "things", min_revision=min_revision)
        rows = {
            item_id: row.tobytes()
            async for batch in reader.batches
            for item_id, row in zip(batch.ids, batch.embeddings, strict=True)
        }
        return rows, reader.info.aligner.partition("@")[0]


def _expected(numbers: list[int]) -> dict[str, bytes]:
    return {
        f"{number}-{row}": vector.tobytes() for number in numbers for row, vector in enumerate(vectors(number, _ROWS))
    }


@pytest.mark.parametrize("name", [name for name in _FAILPOINTS if not name.startswith("deletion")])
async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path, name: str) -> None:
    """A searcher loads it before any writer does; then the writer goes on where the dead one stopped.

    What was in flight is applied or not, as far as the dead writer came, and once when it is asked for again.
    """
    acknowledged = _killed(tmp_path, name)
    assert len(acknowledged) >= _BEFORE
    before, aligner = await _stored(tmp_path)
    expected = _expected(acknowledged)
    assert expected.items() <= before.items()
    in_flight = before.keys() - expected.keys()
    assert in_flight in (set(), _expected([len(acknowledged)]).keys())
    assert aligner == ("same" if name == "promotion committed, not acknowledged" else "center")

    async with running_writer(tmp_path, compact_fan_out=_FAN_OUT) as writer:
        again = _FAILPOINTS[name].work if name.startswith(("promotion", "creation")) else None
        if again is not None:
            revision = (await writer.get_collection(TENANT, "things")).revision
            await again(writer)
            grown = (await writer.get_collection(TENANT, "things")).revision - revision
            assert grown == (name == "promotion written, not committed")
        for number in range(2 * _FAN_OUT):
            fresh = await upsert(writer, images([f"new-{number}"]), vectors(99, 1), request=f"after-the-crash-{number}")
        names = [info.name for info in await writer.list_collections(TENANT)]
    assert names == (["other", "things"] if name.startswith("creation") else ["things"])
    after, _ = await _stored(tmp_path, min_revision=fresh.revision)
    assert after == before | {f"new-{number}": vectors(99, 1)[0].tobytes() for number in range(2 * _FAN_OUT)}


async def test_a_collection_whose_deletion_was_cut_short_is_gone(tmp_path: Path) -> None:
    """It is out of the catalog for everybody; the next writer removes its files, and its name is free."""
    name = "deletion, files still there"
    _killed(tmp_path, name)
    left = [path for path in (tmp_path / TENANT).iterdir() if path.name != "catalog.lance"]
    assert len(left) == 1
    async with running_searcher(tmp_path) as searcher:
        with pytest.raises(NotFoundError):
            await searcher.read_items(TENANT, "things")
    async with running_writer(tmp_path) as writer:
        assert not left[0].exists()
        await _FAILPOINTS[name].work(writer)  # the same request again: deleted already
        await create(writer)
