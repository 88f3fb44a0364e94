"""The append-only table on Lance: views, row ids, compaction, clean-up, syncing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from isthmus.index.table import ROW_ID, AppendTable
from isthmus.index.tiers import fragments_to_merge

_SCHEMA = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("data", pa.binary(), nullable=False)])


def _rows(start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table([list(numbers), [str(number).encode() for number in numbers]], schema=_SCHEMA)


def _numbers(table: AppendTable) -> list[int]:
    return sorted(number for batch in table.view().scan(["number"]) for number in batch.column("number").to_pylist())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where a table may be made."""
    return str(tmp_path / "table.lance")


class TestAppend:
    """Appending and viewing."""

    def test_a_view_does_not_move(self, uri: str) -> None:
        """A view holds what was there when it was taken, and tells that there is news."""
        table = AppendTable.create(uri, _rows(0, 2), durable=True)
        view = table.view()
        table.append(_rows(2, 3))
        assert sum(batch.num_rows for batch in view.scan(["number"])) == 2
        assert view.latest_version() == view.version + 1
        assert _numbers(table) == [0, 1, 2, 3, 4]

    def test_an_empty_table_can_be_scanned_and_grown(self, uri: str) -> None:
        """A table may begin without rows."""
        table = AppendTable.create(uri, _SCHEMA.empty_table(), durable=True)
        assert _numbers(table) == []
        table.append(_rows(0, 1))
        assert _numbers(AppendTable.open(uri, durable=False)) == [0]

    def test_a_table_that_is_not_there_cannot_be_opened(self, uri: str) -> None:
        """Opening makes nothing."""
        with pytest.raises(FileNotFoundError):
            AppendTable.open(uri, durable=False)
        assert not Path(uri).exists()

    def test_a_scan_can_be_kept_to_some_files_and_some_rows(self, uri: str) -> None:
        """What a follower asks for: the rows above a number in the files that are new to it."""
        table = AppendTable.create(uri, _rows(0, 5), durable=False)
        known = table.view().fragment_ids
        table.append(_rows(5, 5))
        view = table.view()
        batches = view.scan(["number"], fragment_ids=view.fragment_ids - known, where="number > 6")
        assert [number for batch in batches for number in batch.column("number").to_pylist()] == [7, 8, 9]
        assert list(view.scan(["number"], fragment_ids=frozenset())) == []

    def test_every_file_of_a_commit_is_synced_before_the_manifest(
        self, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A manifest that reached the disk before its data would be a loss, so the data goes first."""
        synced: list[str] = []

        def fsync(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

        table = AppendTable.create(uri, _rows(0, 1), durable=True)
        monkeypatch.setattr(os, "fsync", fsync)
        table.append(_rows(1, 1))
        data, *rest = synced
        assert data.endswith(".lance")
        assert (Path(uri) / "data" / data).exists()
        assert [name.partition(".")[2] or name for name in rest] == ["data", "manifest", "_versions"]
        assert (Path(uri) / "_versions" / rest[1]).exists()

    def test_a_table_that_need_not_survive_power_loss_is_not_synced(
        self, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`durable=False` spares the disk."""
        monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced"))
        AppendTable.create(uri, _rows(0, 1), durable=False).append(_rows(1, 1))


class TestTake:
    """Reading rows by their ids."""

    def test_rows_come_in_the_order_asked(self, uri: str) -> None:
        """Row ids need not be sorted."""
        table = AppendTable.create(uri, _rows(0, 10), durable=False)
        rows = table.view().take(np.array([7, 2, 9]), ["data"])
        assert rows["data"].to_pylist() == [b"7", b"2", b"9"]

    def test_a_row_that_is_not_there_is_an_error(self, uri: str) -> None:
        """Nothing is left out in silence."""
        table = AppendTable.create(uri, _rows(0, 10), durable=False)
        with pytest.raises(LookupError, match="1 of 2 rows"):
            table.view().take(np.array([7, 70]), ["data"])


class TestMaintain:
    """Compaction and clean-up."""

    def test_rows_keep_their_ids_and_old_views_stay_readable(self, uri: str) -> None:
        """A reader that holds a row id, or a view from before, notices nothing."""
        table = AppendTable.create(uri, _rows(0, 1), durable=True)
        for number in range(1, 20):
            table.append(_rows(number, 1))
        before = table.view()
        assert table.maintain(fan_out=4, keep_versions_s=300.0) == 20
        table.append(_rows(20, 1))
        after = table.view()
        assert len(after.fragment_ids) == 2
        for view in (before, after):
            rows = view.take(np.arange(20), ["number"])
            assert rows["number"].to_pylist() == list(range(20))
            assert rows[ROW_ID].to_pylist() == list(range(20))

    def test_rows_appended_during_a_merge_are_kept(self, uri: str) -> None:
        """A merge that began before an append is committed after it; both count."""
        writer = AppendTable.create(uri, _rows(0, 1), durable=False)
        for number in range(1, 8):
            writer.append(_rows(number, 1))
        other = AppendTable.open(uri, durable=False)
        other.maintain(fan_out=4, keep_versions_s=300.0)
        writer.append(_rows(8, 1))  # this handle still believes in the version before the merge
        assert _numbers(writer) == list(range(9))

    def test_versions_that_are_old_enough_are_removed(self, uri: str) -> None:
        """Clean-up leaves the files of the newest version and those of young versions only."""
        table = AppendTable.create(uri, _rows(0, 1), durable=False)
        for number in range(1, 8):
            table.append(_rows(number, 1))
        table.maintain(fan_out=4, keep_versions_s=0.1)
        time.sleep(0.2)
        table.maintain(fan_out=4, keep_versions_s=0.1)
        assert len(list((Path(uri) / "data").iterdir())) == 1
        assert _numbers(AppendTable.open(uri, durable=False)) == list(range(8))

    def test_a_table_of_200_commits_is_opened_whole(self, uri: str) -> None:
        """Reopening after many commits with maintenance between them finds every row."""
        table = AppendTable.create(uri, _rows(0, 1), durable=False)
        for number in range(1, 200):
            table.append(_rows(number, 1))
            if number % 8 == 0:
                table.maintain(fan_out=8, keep_versions_s=300.0)
        reopened = AppendTable.open(uri, durable=False)
        assert _numbers(reopened) == list(range(200))
        assert len(reopened.view().fragment_ids) < 24


class TestFragmentsToMerge:
    """`fragments_to_merge`."""

    def test_few_fragments_are_left_alone(self) -> None:
        """Below the fan-out there is nothing to do."""
        assert fragments_to_merge(dict.fromkeys(range(7), 10), fan_out=8) == set()

    def test_a_large_fragment_is_not_written_again_for_small_ones(self) -> None:
        """Only the tier that is full is merged, with what is smaller."""
        rows = {0: 100_000, 1: 3} | dict.fromkeys(range(2, 10), 20)
        assert fragments_to_merge(rows, fan_out=8) == set(range(1, 10))

    def test_a_full_fragment_is_never_written_again(self) -> None:
        """A million rows are enough for one file."""
        assert fragments_to_merge(dict.fromkeys(range(50), 1_000_000), fan_out=8) == set()

    def test_each_row_is_written_a_logarithmic_number_of_times(self) -> None:
        """10,000 commits of one row: few fragments at any time, and few writes a row."""
        rows: dict[int, int] = {}
        written = 0
        for number in range(10_000):
            rows[number] = 1
            chosen = fragments_to_merge(rows, fan_out=16)
            if chosen:
                total = sum(rows.pop(key) for key in chosen)
                rows[number] = total
                written += total
            assert len(rows) <= 15 * 4
        assert written / 10_000 <= 4  # 2.9
