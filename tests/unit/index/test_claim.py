"""A claim on a table: what another process has begun is not committed after it, what was committed stays."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from isthmus.index.superseded import SupersededError
from isthmus.index.table import ROW_ID, AppendTable

_SCHEMA = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("word", pa.string(), nullable=False)])


def _rows(*numbers: int) -> pa.Table:
    return pa.table({"number": numbers, "word": [str(number) for number in numbers]}, schema=_SCHEMA)


def _found(table: AppendTable) -> list[tuple[int, int]]:
    """Return (row id, number) of every row."""
    batches = list(table.view().scan(["number"]))
    return sorted(
        (row_id, number)
        for batch in batches
        for row_id, number in zip(batch[ROW_ID].to_pylist(), batch["number"].to_pylist(), strict=True)
    )


@pytest.fixture
def old(tmp_path: Path) -> AppendTable:
    """A table, as the process knows it that made it."""
    return AppendTable.create(str(tmp_path / "table.lance"), _rows(0, 1), durable=False)


def _another(old: AppendTable) -> AppendTable:
    return AppendTable.open(old._uri, durable=False)


def test_an_append_from_before_the_claim_fails_and_leaves_nothing(old: AppendTable) -> None:
    """It fails for good: trying again does not help."""
    _another(old).claim()
    for _ in range(2):
        with pytest.raises(SupersededError):
            old.append(_rows(2))
    assert _found(old) == [(0, 0), (1, 1)]


def test_a_claim_keeps_rows_their_ids_and_the_schema(old: AppendTable) -> None:
    """Searchers find everything where it was, and the claimant goes on from there."""
    old.append(_rows(2))
    before = old.view()
    new = _another(old)
    new.claim()
    assert new.view().fragment_ids == before.fragment_ids
    assert new.view()._dataset.schema == before._dataset.schema
    new.append(_rows(3))
    assert _found(new) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_an_empty_table_can_be_claimed(tmp_path: Path) -> None:
    """A catalog is empty on its first day."""
    table = AppendTable.create(str(tmp_path / "table.lance"), _SCHEMA.empty_table(), durable=True)
    table.claim()
    table.append(_rows(0))
    assert _found(table) == [(0, 0)]


def test_a_claim_that_was_overtaken_by_an_append_sees_it(old: AppendTable) -> None:
    """Of a claim and an append that race, the claim comes after the append or the append fails."""
    new = _another(old)
    late = iter([2])

    def overtake() -> None:
        """The claimant has read the table; now the other process commits."""
        for number in late:
            old.append(_rows(number))

    new.claim(check=overtake)
    assert _found(new) == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(SupersededError):
        old.append(_rows(3))


def test_what_the_check_raises_ends_the_claim(old: AppendTable) -> None:
    """A writer that is not the last any more leaves the table to the last one."""
    new, newest = _another(old), _another(old)
    newest.claim()

    def refuse() -> None:
        """There is a later writer."""
        raise SupersededError

    with pytest.raises(SupersededError):
        new.claim(check=refuse)
    newest.append(_rows(2))


def test_a_compaction_from_before_the_claim_is_not_committed(old: AppendTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old writer's maintenance harms nothing."""
    for number in range(2, 6):
        old.append(_rows(number))
    stale, latest = old._latest(), AppendTable._latest
    _another(old).claim()
    monkeypatch.setattr(AppendTable, "_latest", lambda _: stale)
    with pytest.raises(OSError, match="conflict"):
        old.maintain(fan_out=2, keep_versions_s=300.0)
    monkeypatch.setattr(AppendTable, "_latest", latest)
    assert _found(old) == [(number, number) for number in range(6)]


def test_a_pinned_claim_outlives_every_clean_up(old: AppendTable) -> None:
    """A process may sleep for longer than versions are kept; without the pin its append would be committed."""
    new = _another(old)
    new.claim(pin="epoch-2")
    new.append(_rows(2))
    time.sleep(0.01)
    new.clean_up(0.0)
    with pytest.raises(SupersededError):
        old.append(_rows(3))
    assert [number for _, number in _found(new)] == [0, 1, 2]


def test_a_later_pin_takes_the_place_of_earlier_ones_only(old: AppendTable) -> None:
    """Pins do not pile up, and a slow writer cannot remove the pin of a later one."""
    old.claim(pin="epoch-2")
    _another(old).claim(pin="epoch-9")
    assert set(old._latest().tags.list()) == {"epoch-9"}
    _another(old).claim(pin="epoch-3")
    assert set(old._latest().tags.list()) == {"epoch-9", "epoch-3"}
    _another(old).claim(pin="epoch-9")
    assert set(old._latest().tags.list()) == {"epoch-9"}


def test_a_store_that_cannot_be_reached_is_not_an_absent_table() -> None:
    """An absent table would be made anew. Measured: 2 s until the refused connections are given up."""
    options = {
        "aws_endpoint": "http://127.0.0.1:1",
        "allow_http": "true",
        "aws_region": "us-east-1",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "client_max_retries": "0",
    }
    with pytest.raises(OSError, match="error") as caught:
        AppendTable.open("s3://bucket/table.lance", durable=False, storage_options=options)
    assert not isinstance(caught.value, FileNotFoundError)
