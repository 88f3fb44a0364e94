"""The writer's epoch: two writers never have one, and only the last passes its check."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isthmus.index.catalog import StorePaths
from isthmus.index.epoch import WriterEpoch
from isthmus.index.superseded import SupersededError


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    """An empty store."""
    return StorePaths(str(tmp_path / "store"))


def _take(paths: StorePaths) -> WriterEpoch:
    return WriterEpoch.take(paths, durable=False, keep_versions_s=300.0)


def test_a_later_writer_ends_an_earlier_one(paths: StorePaths) -> None:
    """Once it knows, it does not ask again."""
    first = _take(paths)
    first.check()
    second = _take(paths)
    assert second.number > first.number
    for _ in range(2):
        with pytest.raises(SupersededError) as caught:
            first.check()
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "NOT_READY")
    assert first.superseded
    second.check()


def test_writers_that_start_at_once_get_epochs_of_their_own(paths: StorePaths) -> None:
    """Eight of them race for a store that is not there yet; one is the last."""
    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(lambda _: _take(paths), range(8)))
    assert len({epoch.number for epoch in epochs}) == 8
    last = max(epochs, key=lambda epoch: epoch.number)
    last.check()
    for epoch in epochs:
        if epoch is not last:
            with pytest.raises(SupersededError):
                epoch.check()


def test_the_epochs_table_is_no_tenant(paths: StorePaths) -> None:
    """It lies beside the tenants' folders."""
    _take(paths)
    assert paths.tenants() == ()
