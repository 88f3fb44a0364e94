"""One append-only Lance table: durable appends, immutable views, compaction that readers do not notice."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments
from lance.optimize import Compaction
from numpy.typing import NDArray

from isthmus.index.file_sums import FileSums
from isthmus.index.fsync import StoreSync
from isthmus.index.panics import panics_as_errors
from isthmus.index.superseded import SupersededError

__all__ = ["ROW_ID", "AppendTable", "TableView", "fragments_to_merge"]

_lance: Any = lance  # its type stubs lack some of what is used here
_Compaction: Any = Compaction

ROW_ID: Final = "_rowid"
"""Lance's row number: never reused, never changed by compaction."""

_FRAGMENT_MAX_ROWS: Final = 1_000_000
"""A fragment of this size is never written again."""
_CACHE_BYTES: Final = 32 * 1024 * 1024
"""What Lance may cache of the tables' metadata; its own default is over a gigabyte."""
_CLAIM_TRIES: Final = 100
"""A claim and the commits of the writer before it race; each try loses to one commit at most."""


class TableView:
    """A table at one version. Immutable, safe to use from any thread."""

    def __init__(self, dataset: Any, sums: FileSums) -> None:
        self._dataset = dataset
        self._sums = sums
        with panics_as_errors():
            fragments = dataset.get_fragments()
        self._fragments: dict[int, Any] = {fragment.fragment_id: fragment for fragment in fragments}

    @property
    def version(self) -> int:
        """Lance's version number, +1 a commit of any kind."""
        return int(self._dataset.version)

    @property
    def fragment_ids(self) -> frozenset[int]:
        """The files it is made of; an id is never used again."""
        return frozenset(self._fragments)

    def latest_version(self) -> int:
        """Return the newest version that the store holds now. Cheap: 0.1 ms on a local disk."""
        return int(self._dataset.latest_version)

    def scan(
        self, columns: Sequence[str], *, fragment_ids: frozenset[int] | None = None, where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows with their `_rowid`, in no particular order.

        Args:
            columns: Columns wanted.
            fragment_ids: Look at these files only.
            where: A Lance filter.

        Raises:
            DataLossError: STORE_DAMAGED; a file is not what was written.
        """
        chosen = None if fragment_ids is None else [self._fragments[number] for number in sorted(fragment_ids)]
        if chosen == [] or not self._fragments:
            return
        self._sums.check(_data_files(tuple(self._fragments.values()) if chosen is None else chosen))
        with panics_as_errors():
            scanner = self._dataset.scanner(columns=list(columns), fragments=chosen, filter=where, with_row_id=True)
            yield from scanner.to_batches()

    def take(self, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return the rows with these ids (at least one), in the order asked, with their `_rowid`.

        Raises:
            LookupError: a row is not there.
        """
        wanted = np.unique(row_ids)
        condition = f"{ROW_ID} in ({','.join(map(str, wanted.tolist()))})"
        with panics_as_errors():
            rows = self._dataset.to_table(columns=list(columns), filter=condition, with_row_id=True)
        found = rows[ROW_ID].to_numpy().astype(np.int64)
        order = np.argsort(found)
        if not np.array_equal(found[order], wanted):
            msg = f"{len(wanted) - len(found)} of {len(wanted)} rows are not in the store"
            raise LookupError(msg)
        return rows.take(pa.array(order[np.searchsorted(wanted, row_ids)]))


class AppendTable:
    """A table that grows by appends only. One process appends; any number may read.

    Args:
        dataset: An open Lance dataset.
        uri: Of it.
        durable: Sync every commit before it counts.
        storage_options: How Lance reaches an object store; None for a folder.
    """

    def __init__(self, dataset: Any, uri: str, *, durable: bool, storage_options: dict[str, str] | None = None) -> None:
        self._dataset = dataset
        self._uri = uri
        self._options = storage_options
        self._sync = StoreSync(self._uri, enabled=durable)
        self._sums = FileSums(uri)
        self._maintenance = threading.Lock()
        self._cleaned_s = time.monotonic()

    @classmethod
    def create(
        cls, uri: str, rows: pa.Table, *, durable: bool, storage_options: dict[str, str] | None = None
    ) -> AppendTable:
        """Make a table whose first version holds `rows`.

        Raises:
            OSError: there is a table at `uri` already, or it cannot be written.
        """
        dataset = _lance.write_dataset(
            rows,
            uri,
            mode="create",
            enable_stable_row_ids=True,
            session=_session(),
            storage_options=storage_options,
        )
        table = cls(dataset, uri, durable=durable, storage_options=storage_options)
        files = _data_files(dataset.get_fragments())
        table._sums.note(files)
        table._sync.data_files(files)
        table._sync.manifest(dataset.version)
        table._sync.new_table()
        return table

    @classmethod
    def open(cls, uri: str, *, durable: bool, storage_options: dict[str, str] | None = None) -> AppendTable:
        """Open the table at `uri`.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
        """
        return cls(_open(uri, storage_options), uri, durable=durable, storage_options=storage_options)

    @property
    def version(self) -> int:
        """The version that this process wrote last, or opened."""
        return int(self._dataset.version)

    def latest_version(self) -> int:
        """Return the newest version that the store holds now.

        Raises:
            OSError: the store cannot be read.
        """
        try:
            return int(self._dataset.latest_version)
        except ValueError as error:
            raise OSError(str(error)) from error

    def view(self) -> TableView:
        """Return the table as it is in the store now.

        Raises:
            OSError: it cannot be read.
        """
        return TableView(self._latest(), self._sums)

    def append(self, rows: pa.Table) -> None:
        """Append `rows` in one commit; when this returns they are durable.

        Raises:
            SupersededError: another process has claimed the table; the rows are not there.
            OSError: the store refused. Whether the rows are there is then unknown until the table is claimed again.
        """
        fragments = write_fragments(rows, self._dataset, mode="append", storage_options=self._options)
        files = [file.path for fragment in fragments for file in fragment.files]
        self._sums.note(files)
        self._sync.data_files(files)
        operation = _lance.LanceOperation.Append(fragments)
        try:
            self._dataset = _lance.LanceDataset.commit(self._dataset, operation, read_version=self._dataset.version)
        except CommitConflictError as error:  # nothing but a claim keeps an append from being committed
            raise SupersededError from error
        self._sync.manifest(self._dataset.version)

    def claim(self, *, check: Callable[[], None] = lambda: None, pin: str = "") -> None:
        """Make every append fail that any process has begun and not yet committed; from here on this one appends.

        The claim is a commit of Lance's kind "merge" that changes nothing. It is only ever committed on the version it
        was made from, and an append made from an older version is not committed after it: of a claim and an append
        that race, either the claim has seen the append, or the append fails. Both rest on the store creating a file
        only where there is none.

        Args:
            check: Called between reading the table and each try; what it raises ends the claim.
            pin: Ends in a number, the epoch. Names a tag on the claim's version, in place of those of lower numbers:
                an append finds the claim by its manifest, however long its process slept, so a clean-up must spare it.

        Raises:
            OSError: the store refused, or the table changes too quickly.
        """
        for _ in range(_CLAIM_TRIES):
            dataset = self._latest()
            check()
            fragments = [fragment.metadata for fragment in dataset.get_fragments()]
            operation = _lance.LanceOperation.Merge(fragments, dataset.lance_schema)
            try:
                self._dataset = _lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)
            except CommitConflictError:
                continue
            self._sync.manifest(self._dataset.version)
            if pin:
                self._pin(pin)
            return
        msg = "the table changes too quickly to be claimed"
        raise OSError(msg)

    def maintain(self, *, fan_out: int, keep_versions_s: float) -> int:
        """Merge small fragments and remove versions that are old; may run beside `append`.

        Args:
            fan_out: Fragments of one tier that make a merge.
            keep_versions_s: Versions younger than this stay, for readers that are at them.

        Returns:
            Fragments that were merged away.
        """
        with self._maintenance:
            merged = self._merge_fragments(fan_out)
            now_s = time.monotonic()
            # A clean-up reads every manifest that is left, so it does not follow every merge.
            if now_s - self._cleaned_s > keep_versions_s / 2:
                self._cleaned_s = now_s
                self.clean_up(keep_versions_s)
            return merged

    def clean_up(self, keep_versions_s: float) -> None:
        """Remove versions that are older, but for the newest and for claims that are pinned."""
        self._latest().cleanup_old_versions(
            older_than=timedelta(seconds=keep_versions_s), error_if_tagged_old_versions=False
        )
        self._sums.forget_removed()

    def _latest(self) -> Any:
        return _open(self._uri, self._options)

    def _pin(self, name: str) -> None:
        tags, version = self._dataset.tags, self._dataset.version
        known = tags.list()
        if name in known:  # the table was copied from another store
            tags.update(name, version)
        else:
            tags.create(name, version)
        stem, _, number = name.rpartition("-")
        for other in known:
            other_stem, _, other_number = other.rpartition("-")
            if other_stem == stem and int(other_number) < int(number):
                tags.delete(other)

    def _merge_fragments(self, fan_out: int) -> int:
        dataset = self._latest()
        fragments = dataset.get_fragments()
        rows = {fragment.fragment_id: fragment.physical_rows for fragment in fragments}
        chosen = fragments_to_merge(rows, fan_out=fan_out)
        if not chosen:
            return 0
        self._sums.check(_data_files([fragment for fragment in fragments if fragment.fragment_id in chosen]))
        options = {"num_threads": 1, "excluded_fragment_ids": sorted(rows.keys() - chosen)}
        rewrites = [task.execute(dataset) for task in _Compaction.plan(dataset, options).tasks]
        if not rewrites:
            return 0
        new_fragments = [fragment for rewrite in rewrites for fragment in json.loads(rewrite.json())["new_fragments"]]
        files = [file["path"] for fragment in new_fragments for file in fragment["files"]]
        self._sums.note(files)
        self._sync.data_files(files)
        metrics = _Compaction.commit(dataset, rewrites)
        self._sync.manifest(dataset.version)
        return int(metrics.fragments_removed)


def fragments_to_merge(rows: Mapping[int, int], *, fan_out: int) -> set[int]:
    """Choose which fragments to merge into one, so that each row is written again a logarithmic number of times.

    Fragments fall into tiers by size, tier t holding those of fan_out^t rows and more. A tier that holds `fan_out` of
    them is merged into one, with all that is smaller.

    Args:
        rows: Rows of each fragment by its id.
        fan_out: Fragments that make a merge, at least 2.

    Returns:
        Fragment ids; empty when nothing is worth it.
    """
    tiers = {number: _tier(count, fan_out) for number, count in rows.items() if count < _FRAGMENT_MAX_ROWS}
    chosen: set[int] = set()
    for tier in range(max(tiers.values(), default=0) + 1):
        # What is chosen so far will be one fragment, of a tier that its rows decide.
        merged = bool(chosen) and _tier(sum(rows[number] for number in chosen), fan_out) == tier
        if sum(of_fragment == tier for of_fragment in tiers.values()) + merged >= fan_out:
            chosen = {number for number, of_fragment in tiers.items() if of_fragment <= tier}
    return chosen


def _tier(rows: int, fan_out: int) -> int:
    tier = 0
    while rows >= fan_out:
        rows //= fan_out
        tier += 1
    return tier


@functools.cache
def _session() -> Any:
    """Return the cache that all tables of this process share."""
    return _lance.Session(index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES)


def _open(uri: str, storage_options: dict[str, str] | None) -> Any:
    try:
        with panics_as_errors():
            return _lance.dataset(uri, session=_session(), storage_options=storage_options)
    except ValueError as error:
        # Lance says everything so, a store that cannot be reached too.
        if "was not found" in str(error):
            raise FileNotFoundError(uri) from error
        raise OSError(str(error)) from error


def _data_files(fragments: Sequence[Any]) -> list[str]:
    return [file.path for fragment in fragments for file in fragment.metadata.files]
