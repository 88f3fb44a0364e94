"""Erased items are in no file that the mesh keeps: searched for byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine
from isthmus.index.erasing import Gap
from isthmus.index.model import NewItem
from isthmus.runtime.base.errors import NotFoundError, UnavailableError
from tests.harness.steady_load import until
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

_OTHERS = 1_100
"""More than the least that a searcher writes a cache file of."""
_POOL = vectors(7, _OTHERS + 10)
_SECRETS = [b"most-secret-of-all", b"second-most-secret", b"thumbnail-nobody-may-see"]


def _holding(root: Path, patterns: list[bytes]) -> set[str]:
    """Return the folders below `root` whose files hold one of these bytes."""
    return {
        str(file.relative_to(root).parts[0])
        for file in root.rglob("*")
        if file.is_file() and any(pattern in file.read_bytes() for pattern in patterns)
    }


def _patterns() -> list[bytes]:
    """Return the attribute values, the thumbnail, and both versions of the vector as the store and FAISS hold them."""
    rows = _POOL[_OTHERS : _OTHERS + 2]
    return [*_SECRETS, *(row.astype("<f2").tobytes() for row in rows), *(row.tobytes() for row in rows)]


def _secret(number: int) -> list[NewItem]:
    word = _SECRETS[number].decode()
    thumbnail = _SECRETS[2] if number else b""
    return [NewItem(id="secret", modality=Modality.IMAGE, attributes={"word": word}, thumbnail=thumbnail)]


async def _searched(searcher: SearcherEngine, revision: int) -> list[str]:
    query = _POOL[_OTHERS + 1][None]
    found = await searcher.search(
        TENANT,
        "things",
        modality=Modality.IMAGE,
        space=SPACE,
        queries=query,
        top_k=3,
        min_revision=revision,
    )
    return [neighbor.item.id for neighbor in found.neighbors[0]]


async def test_an_erased_item_is_in_no_file(tmp_path: Path) -> None:
    """Two versions of it, its thumbnail, a cache file of the searcher: found before, in no file after; others stay."""
    options = {"cache_dir": tmp_path / "cache", "cache_rest_s": 0.0}
    async with (
        running_writer(tmp_path / "store") as writer,
        running_searcher(tmp_path / "store", **options) as searcher,
    ):
        await create(writer)
        await upsert(writer, _secret(0), _POOL[_OTHERS : _OTHERS + 1])
        # The younger half comes last: all that is there is merged into one segment, which is worth a file.
        for start in range(0, _OTHERS, 550):
            ids = [f"item-{n}" for n in range(start, start + 550)]
            if start:
                await upsert(writer, _secret(1), _POOL[_OTHERS + 1 : _OTHERS + 2])
            await upsert(writer, images(ids), _POOL[start : start + 550])
        await until(lambda: _holding(tmp_path, _patterns()) == {"store", "cache"})
        for pattern in _patterns()[:-2]:
            assert _holding(tmp_path, [pattern]), pattern
        reader = await searcher.read_items(TENANT, "things")
        batches = reader.batches

        request = request_id()
        erased = await writer.eraser.erase(TENANT, "things", ids=["secret", "never"], request_id=request)
        assert await searcher.forget_erased(TENANT, "things", min_revision=erased.revision)
        assert _holding(tmp_path, _patterns()) == set()
        assert (erased.deleted_count, erased.gaps) == (1, ())

        assert "secret" not in await _searched(searcher, erased.revision)
        with contextlib.suppress(UnavailableError):  # a reader from before is told so, or reads on from an open file
            assert len((await anext(batches)).ids) == 1_000
        again = await writer.eraser.erase(TENANT, "things", ids=["secret", "never"], request_id=request)
        assert (again.revision, again.deleted_count) == (erased.revision, 1)
        await upsert(writer, images(["new"]), _POOL[:1])
    async with (
        running_writer(tmp_path / "store") as writer,
        running_searcher(tmp_path / "store", **options) as searcher,
    ):
        _, found = await searcher.get_items(
            TENANT, "things", ids=[f"item-{n}" for n in range(_OTHERS)][:1000], include_embeddings=True
        )
        np.testing.assert_array_equal(np.array([item.embedding for item in found]), _POOL[:1000])
        assert _holding(tmp_path, _patterns()) == set()


async def test_an_item_that_was_deleted_before_is_erased_too(tmp_path: Path) -> None:
    """Deleted, folded and merged already: only a file of an older version still holds it."""
    async with running_writer(tmp_path) as writer:
        await create(writer)
        await upsert(writer, _secret(0), _POOL[_OTHERS : _OTHERS + 1])
        await writer.delete(TENANT, "things", ids=["secret"], request_id=request_id())
        for number in range(10):
            await upsert(writer, images([f"i{number}"]), _POOL[number : number + 1])
        assert _holding(tmp_path, _patterns())
        erased = await writer.eraser.erase(TENANT, "things", ids=["secret"], request_id=request_id())
        assert (erased.deleted_count, _holding(tmp_path, _patterns())) == (0, set())


async def test_erasing_beside_writing_loses_nothing(tmp_path: Path) -> None:
    """Twenty erasures while others write: no acknowledged item is lost, no reader is told of damage."""
    async with running_writer(tmp_path, keep_versions_s=1.0) as writer, running_searcher(tmp_path) as searcher:
        await create(writer)
        stored: list[str] = []
        stop = asyncio.Event()

        async def write(client: int) -> None:
            number = 0
            while not stop.is_set():
                item = f"{client}-{number}"
                await upsert(writer, images([item]), _POOL[number % 1000 : number % 1000 + 1])
                stored.append(item)
                number += 1

        async def read() -> None:
            while not stop.is_set():
                known = stored[-50:]
                if known:
                    revision = (await writer.get_collection(TENANT, "things")).revision
                    _, found = await searcher.get_items(TENANT, "things", ids=known, min_revision=revision)
                    assert [item.id for item in found] == known
                await asyncio.sleep(0)

        running = [asyncio.create_task(write(0)), asyncio.create_task(write(1)), asyncio.create_task(read())]
        for number in range(20):
            await upsert(writer, [NewItem(id=f"x{number}", modality=Modality.IMAGE)], _POOL[number : number + 1])
            erased = await writer.eraser.erase(TENANT, "things", ids=[f"x{number}"], request_id=request_id())
            assert erased.deleted_count == 1
        stop.set()
        await asyncio.gather(*running)
    async with running_searcher(tmp_path) as searcher:
        for start in range(0, len(stored), 1000):
            ids = stored[start : start + 1000]
            _, found = await searcher.get_items(TENANT, "things", ids=ids)
            assert [item.id for item in found] == ids


async def test_what_cannot_be_reached_is_told(tmp_path: Path) -> None:
    """Files of rows in the import folder belong to the bulk job that made them."""
    (tmp_path / "import" / TENANT / "job").mkdir(parents=True)
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        erased = await writer.eraser.erase(TENANT, "things", ids=["a"], request_id=request_id())
        assert erased.gaps == ()
        (tmp_path / "import" / TENANT / "job" / "block.rows").touch()
        erased = await writer.eraser.erase(TENANT, "things", ids=["a"], request_id=request_id())
        assert erased.gaps == (Gap.IMPORT_FOLDER,)
        with pytest.raises(NotFoundError):
            await writer.eraser.erase(TENANT, "nothing", ids=["a"], request_id=request_id())
