"""What a collection is stored in: Lance's `merge_insert`, or a table of events that is only appended to.

Both tables hold the same columns and 512 float32 an item, and are written by the same Lance without syncing, so that
what differs is what each has to read and write. Small files are merged every 32 commits in both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa

from isthmus.index.table import AppendTable
from tests.bench.record import Figure

__all__ = ["measure"]

_lance: Any = lance

SIZES: Final = {1_000: 1_000, 100_000: 1_000, 1_000_000: 100}
"""Commits that follow, by rows stored before them: at a million the time for more is not there."""
BATCH: Final = 256
PROBES: Final = 20
FAN_OUT: Final = 32
_LOAD_ROWS: Final = 50_000
_VECTOR_BYTES: Final = 512 * 4
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
        pa.field("embedding", pa.binary(), nullable=False),
        pa.field("row_digest", pa.binary(), nullable=False),
    ]
)


def _rows(chance: np.random.Generator, numbers: np.ndarray, revision: int) -> pa.Table:
    data = chance.bytes(len(numbers) * _VECTOR_BYTES)
    vectors = [data[start : start + _VECTOR_BYTES] for start in range(0, len(data), _VECTOR_BYTES)]
    columns = [[f"item-{n}" for n in numbers.tolist()], [revision] * len(numbers), vectors, [v[:32] for v in vectors]]
    return pa.table([pa.array(c, field.type) for c, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)


class _Store(ABC):
    """One way to keep items."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.uri = str(folder / f"{self.name}.lance")

    def bytes(self) -> int:
        """Return what it takes on the disk, old versions included."""
        return sum(file.stat().st_size for file in Path(self.uri).rglob("*") if file.is_file())

    @abstractmethod
    def load(self, rows: pa.Table) -> None: ...

    @abstractmethod
    def loaded(self) -> None: ...

    @abstractmethod
    def upsert(self, rows: pa.Table) -> None: ...

    @abstractmethod
    def read_above(self, revision: int, known: frozenset[int]) -> int: ...

    @abstractmethod
    def fragments(self) -> frozenset[int]: ...

    @abstractmethod
    def maintain(self) -> None: ...

    @abstractmethod
    def clean(self) -> None: ...


class _Events(_Store):
    name = "append"
    _table: AppendTable

    def load(self, rows: pa.Table) -> None:
        if Path(self.uri).exists():
            self._table.append(rows)
        else:
            self._table = AppendTable.create(self.uri, rows, durable=False)

    def loaded(self) -> None:
        self._table.maintain(fan_out=2, keep_versions_s=300.0)

    def upsert(self, rows: pa.Table) -> None:
        self._table.append(rows)

    def fragments(self) -> frozenset[int]:
        return self._table.view().fragment_ids

    def read_above(self, revision: int, known: frozenset[int]) -> int:
        view = self._table.view()
        batches = view.scan(_SCHEMA.names, fragment_ids=view.fragment_ids - known, where=f"revision > {revision}")
        return sum(batch.num_rows for batch in batches)

    def maintain(self) -> None:
        self._table.maintain(fan_out=FAN_OUT, keep_versions_s=1e9)

    def clean(self) -> None:
        self._table.clean_up(0.0)


class _MergeInsert(_Store):
    name = "merge_insert"
    _dataset: Any

    def load(self, rows: pa.Table) -> None:
        mode = "append" if Path(self.uri).exists() else "create"
        self._dataset = _lance.write_dataset(rows, self.uri, mode=mode, enable_stable_row_ids=True)

    def loaded(self) -> None:
        self._dataset.optimize.compact_files(num_threads=1)
        self._dataset.create_scalar_index("id", "BTREE")

    def upsert(self, rows: pa.Table) -> None:
        self._dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def fragments(self) -> frozenset[int]:
        return frozenset(fragment.fragment_id for fragment in _lance.dataset(self.uri).get_fragments())

    def read_above(self, revision: int, known: frozenset[int]) -> int:
        dataset = _lance.dataset(self.uri)
        fresh = [fragment for fragment in dataset.get_fragments() if fragment.fragment_id not in known]
        scanner = dataset.scanner(columns=_SCHEMA.names, fragments=fresh, filter=f"revision > {revision}")
        return sum(batch.num_rows for batch in scanner.to_batches())

    def maintain(self) -> None:
        self._dataset.optimize.compact_files(num_threads=1)
        self._dataset.optimize.optimize_indices()

    def clean(self) -> None:
        self._dataset.cleanup_old_versions(older_than=timedelta(0))


def measure(_: str) -> list[Figure]:
    """Return, for each size and way: commits of 256, a reader's catch-up, merging of files, bytes."""
    figures = []
    for size, commits in SIZES.items():
        for kind in (_Events, _MergeInsert):
            with tempfile.TemporaryDirectory() as folder:
                figures += _measure(kind(Path(folder)), size, commits)
    return figures


def _measure(store: _Store, size: int, commits: int) -> list[Figure]:
    chance = np.random.default_rng(0)
    for start in range(0, size, _LOAD_ROWS):
        store.load(_rows(chance, np.arange(start, min(start + _LOAD_ROWS, size)), 1))
    store.loaded()
    fresh_ms = _probe(store, chance, size, first_revision=2)
    merging_s = 0.0
    for number in range(commits):
        store.upsert(_rows(chance, _touched(chance, size), 100 + number))
        if number % FAN_OUT == FAN_OUT - 1:
            started_s = time.perf_counter()
            store.maintain()
            merging_s += time.perf_counter() - started_s
    late_ms = _probe(store, chance, size, first_revision=100 + commits)
    known = store.fragments()
    store.upsert(_rows(chance, _touched(chance, size), 10_000))
    started_s = time.perf_counter()
    found = store.read_above(9_999, known)
    catch_up_ms = 1_000 * (time.perf_counter() - started_s)
    assert found == BATCH
    before = store.bytes()
    store.clean()
    return [
        Figure(
            f"{store.name}, {size:,} rows: commit of {BATCH}, then after {commits:,} commits",
            f"{fresh_ms:.1f} ms, {late_ms:.1f} ms",
            "",
            f"catch-up {catch_up_ms:.1f} ms; files merged in {merging_s:.1f} s; {before / 2**20:.0f} MiB with old "
            f"versions, {store.bytes() / 2**20:.0f} MiB without",
        )
    ]


def _touched(chance: np.random.Generator, size: int) -> np.ndarray:
    """Return the numbers of a batch: half of them are there already."""
    there = chance.choice(size, BATCH // 2, replace=False)
    return np.concatenate([there, size + chance.choice(10**9, BATCH - len(there), replace=False)])


def _probe(store: _Store, chance: np.random.Generator, size: int, *, first_revision: int) -> float:
    """Return the median time of a commit in milliseconds."""
    durations = []
    for number in range(PROBES):
        rows = _rows(chance, _touched(chance, size), first_revision + number)
        started_s = time.perf_counter()
        store.upsert(rows)
        durations.append(time.perf_counter() - started_s)
    return 1_000 * statistics.median(durations)
