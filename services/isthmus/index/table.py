"""One Lance table that grows by appends: immutable views, and compaction that readers do not notice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments
from lance.optimize import Compaction
from numpy.typing import NDArray

from isthmus.index.file_sums import DELETIONS, FileSums
from isthmus.index.fsync import StoreSync
from isthmus.index.superseded import SupersededError
from isthmus.index.table_view import (
    ROW_ADDRESS,
    ROW_ID,
    TableView,
    data_files,
    deletion_file,
    deletion_files,
    open_dataset,
    shared_session,
)
from isthmus.index.tiers import fragments_to_merge

__all__ = ["ROW_ADDRESS", "ROW_ID", "AppendTable", "Replacement", "TableView"]

_lance: Any = lance  # its type stubs lack some of what is used here
_Compaction: Any = Compaction

_NEVER: Final = 2**62
"""A fan-out that no table reaches."""
_PLACE_BITS: Final = 32
_DEAD_SHARE_MAX: Final = 0.1
"""A fragment is written again once more of it than this was taken out."""

_CLAIM_TRIES: Final = 100
"""A claim and the commits of the writer before it race; each try loses to one commit at most."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Rows to take out, and what to append in the same commit.

    Attributes:
        dead: (n,) addresses, at the version the plan was made for.
        rows: To append.
    """

    dead: NDArray[np.int64]
    rows: pa.Table


class AppendTable:
    """A table that grows by appends, and loses rows by `replace` alone. One process writes; any number may read.

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
        self._appending = threading.Lock()
        self._maintenance = threading.RLock()
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
            session=shared_session(),
            storage_options=storage_options,
        )
        table = cls(dataset, uri, durable=durable, storage_options=storage_options)
        files = data_files(dataset.get_fragments())
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
        return cls(open_dataset(uri, storage_options), uri, durable=durable, storage_options=storage_options)

    @property
    def is_local(self) -> bool:
        """True in a folder, which a lock keeps for one writer."""
        return "://" not in self._uri

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
        with self._appending:
            operation = _lance.LanceOperation.Append(self._write(rows))
            try:
                self._dataset = _lance.LanceDataset.commit(self._dataset, operation, read_version=self._dataset.version)
            except CommitConflictError as error:  # nothing but a claim keeps an append from being committed
                raise SupersededError from error
            self._sync.manifest(self._dataset.version)

    def replace(self, plan: Callable[[TableView], Replacement | None]) -> bool:
        """Take rows out and append others, in one durable commit; may run beside `append`.

        Row ids stay, and whoever holds a view from before reads on from that.

        Args:
            plan: Asked once, about the table as it is. What is appended while it works, stays.

        Returns:
            False when there was nothing to do, or a claim came between, of whatever process.

        Raises:
            OSError: the store refused. Whether it was done is then unknown.
        """
        with self._maintenance:
            view = self.view()
            planned = plan(view)
            if planned is None:
                return False
            removed, updated = self._without(view, planned.dead)
            operation = _lance.LanceOperation.Update(
                removed_fragment_ids=removed, updated_fragments=updated, new_fragments=self._write(planned.rows)
            )
            dataset = view._dataset  # noqa: SLF001 - made here
            try:
                dataset = _lance.LanceDataset.commit(dataset, operation, read_version=view.version)
            except CommitConflictError:
                return False
            self._sync.manifest(dataset.version)
            return True

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
            with self._appending:
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
        """Merge small fragments, write those again that lost rows, remove old versions; may run beside `append`.

        Args:
            fan_out: Fragments of one tier that make a merge.
            keep_versions_s: Versions younger than this stay, for readers that are at them.

        Returns:
            Fragments that were merged away.
        """
        with self._maintenance:
            merged = self._merge_fragments(fan_out, dead_share_max=_DEAD_SHARE_MAX)
            now_s = time.monotonic()
            # A clean-up reads every manifest that is left, so it does not follow every merge.
            if now_s - self._cleaned_s > keep_versions_s / 2:
                self._cleaned_s = now_s
                self.clean_up(keep_versions_s)
            return merged

    def purge(self, *, check: Callable[[], None] = lambda: None, pin: str = "") -> None:
        """Leave no byte of rows that were taken out: write their files again, and remove every version from before.

        Readers at those versions find their files gone and have to take a newer one.

        Args:
            check: As in `claim`, which makes the removed versions unneeded.
            pin: As in `claim`.

        Raises:
            OSError: the store refused, or a claim came between; nothing is lost, and it can be done again.
        """
        with self._maintenance:
            self._merge_fragments(_NEVER, dead_share_max=0.0)
            self.claim(check=check, pin=pin)
            with self._appending:  # of files that no version names, none is on its way to be named
                self._latest().cleanup_old_versions(
                    older_than=timedelta(0), error_if_tagged_old_versions=False, delete_unverified=self.is_local
                )
            self._sums.forget_removed()

    def clean_up(self, keep_versions_s: float) -> None:
        """Remove versions that are older, but for the newest and for claims that are pinned."""
        self._latest().cleanup_old_versions(
            older_than=timedelta(seconds=keep_versions_s), error_if_tagged_old_versions=False
        )
        self._sums.forget_removed()

    def _latest(self) -> Any:
        return open_dataset(self._uri, self._options)

    def _write(self, rows: pa.Table) -> list[Any]:
        """Write rows to files that no version names yet, summed and synced."""
        fragments: list[Any] = write_fragments(rows, self._dataset, mode="append", storage_options=self._options)
        files = [file.path for fragment in fragments for file in fragment.files]
        self._sums.note(files)
        self._sync.data_files(files)
        return fragments

    def _without(self, view: TableView, dead: NDArray[np.int64]) -> tuple[list[int], list[Any]]:
        """Return the fragments of which nothing stays, and those that go on without some rows, summed and synced."""
        removed: list[int] = []
        updated: list[Any] = []
        numbers = dead >> _PLACE_BITS
        for number in np.unique(numbers).tolist():
            left = view.fragment(number).delete_rows((dead[numbers == number] & (2**_PLACE_BITS - 1)).tolist())
            if left is None:
                removed.append(number)
            else:
                updated.append(left)
        files = [deletion_file(metadata) for metadata in updated]
        self._sums.note(files, folder=DELETIONS)
        self._sync.data_files(files, folder=DELETIONS)
        return removed, updated

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

    def _merge_fragments(self, fan_out: int, *, dead_share_max: float) -> int:
        dataset = self._latest()
        fragments = dataset.get_fragments()
        rows = {fragment.fragment_id: fragment.physical_rows for fragment in fragments}
        chosen = fragments_to_merge(rows, fan_out=fan_out)
        chosen |= {
            fragment.fragment_id
            for fragment in fragments
            if fragment.num_deletions > dead_share_max * fragment.physical_rows
        }
        if not chosen:
            return 0
        read = [fragment for fragment in fragments if fragment.fragment_id in chosen]
        self._sums.check(data_files(read))
        self._sums.check(deletion_files(read), folder=DELETIONS)
        options = {
            "num_threads": 1,
            "excluded_fragment_ids": sorted(rows.keys() - chosen),
            "materialize_deletions_threshold": dead_share_max,
        }
        rewrites = [task.execute(dataset) for task in _Compaction.plan(dataset, options).tasks]
        if not rewrites:
            return 0
        new_fragments = [fragment for rewrite in rewrites for fragment in json.loads(rewrite.json())["new_fragments"]]
        files = [file["path"] for fragment in new_fragments for file in fragment["files"]]
        self._sums.note(files)
        self._sync.data_files(files)
        before = dataset.version
        metrics = _Compaction.commit(dataset, rewrites)
        # Lance commits twice for it, and again when an append came between: the last of these may be any version since.
        for version in range(before + 1, self._latest().version + 1):
            self._sync.manifest(version)
        return int(metrics.fragments_removed)
