"""Stores that earlier versions of the code wrote open with this one (promise D12)."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.make_store import REPLAYED, STORES, answers, last_items
from tests.unit.index.support import TENANT, images, running_searcher, running_writer, upsert, vectors

_NAMES = sorted(path.stem for path in STORES.glob("*.json"))


@pytest.fixture(params=_NAMES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A store of an earlier version, unpacked, and what that version answered from it."""
    with tarfile.open(STORES / f"{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store", json.loads((STORES / f"{request.param}.json").read_text())


def _check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Items are equal to the last bit; scores to what the order of adding up may change."""
    assert found["revision"] == expected["revision"]
    assert found["items"] == expected["items"]
    assert found["neighbors"].keys() == expected["neighbors"].keys()
    for kind, queries in expected["neighbors"].items():
        for place, query in enumerate(queries):
            answered = found["neighbors"][kind][place]
            assert [item_id for item_id, _ in answered] == [item_id for item_id, _ in query]
            np.testing.assert_allclose([score for _, score in answered], [score for _, score in query], atol=1e-5)


def test_there_are_stores_to_open() -> None:
    """The first format and what came after."""
    assert "2026-11-23" in _NAMES
    assert len(_NAMES) > 1


async def test_a_searcher_answers_from_an_old_store_as_its_own_version_did(store: tuple[Path, dict[str, Any]]) -> None:
    """No writer is needed, nothing is changed: the same items, neighbours and revision, under the same aliases."""
    folder, expected = store
    async with running_searcher(folder) as searcher:
        _check(await answers(searcher), expected)
        for alias, name in expected.get("aliases", {}).items():
            assert await searcher.resolve(TENANT, alias) == (name, 0)


async def test_an_old_store_is_written_on(store: tuple[Path, dict[str, Any]]) -> None:
    """An old request is not applied again, a new one gets the next revision, and an old aligner is rolled back to."""
    folder, expected = store
    async with running_writer(folder) as writer, running_searcher(folder) as searcher:
        again = await upsert(writer, last_items(), vectors(5, 3), request=REPLAYED)
        assert again.revision == expected["revision"]
        _check(await answers(searcher), expected)
        fresh = await upsert(writer, images(["new"]), vectors(6, 1), request="fresh")
        assert fresh.revision == expected["revision"] + 1
        before = await writer.get_collection(TENANT, "things")
        after = await writer.rollback_aligner(TENANT, "things", request_id="back")
        assert (before.aligner.split("@")[0], after.aligner.split("@")[0]) == ("same", "center")
        found = await answers(searcher, min_revision=after.revision)
        assert found["neighbors"] != expected["neighbors"]
        kept = [item for item in found["items"] if item["revision"] <= expected["revision"]]
        assert kept == expected["items"]
