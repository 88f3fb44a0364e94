"""A Lance table at one version, and what is read of its files."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.index.file_sums import DELETIONS, FileSums
from isthmus.index.panics import panics_as_errors

__all__ = [
    "ROW_ADDRESS",
    "ROW_ID",
    "TableView",
    "data_files",
    "deletion_file",
    "deletion_files",
    "open_dataset",
    "shared_session",
]

_lance: Any = lance  # its type stubs lack some of what is used here

ROW_ID: Final = "_rowid"
"""Lance's row number: never reused, never changed by compaction."""
ROW_ADDRESS: Final = "_rowaddr"
"""Where a row lies at one version: its fragment in the upper 32 bits, its place there in the lower ones."""

_CACHE_BYTES: Final = 32 * 1024 * 1024
"""What Lance may cache of the tables' metadata; its own default is over a gigabyte."""


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

    def fragment(self, number: int) -> Any:
        """Return Lance's fragment of that id."""
        return self._fragments[number]

    @property
    def rows(self) -> int:
        """Rows that are there. Cheap: the manifest says."""
        return sum(int(fragment.physical_rows - fragment.num_deletions) for fragment in self._fragments.values())

    def scan(
        self,
        columns: Sequence[str],
        *,
        fragment_ids: frozenset[int] | None = None,
        where: str | None = None,
        addresses: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows with their `_rowid`, in no particular order.

        Args:
            columns: Columns wanted.
            fragment_ids: Look at these files only.
            where: A Lance filter.
            addresses: Yield `_rowaddr` too.

        Raises:
            DataLossError: STORE_DAMAGED; a file is not what was written.
        """
        chosen = None if fragment_ids is None else [self._fragments[number] for number in sorted(fragment_ids)]
        if chosen == [] or not self._fragments:
            return
        read = tuple(self._fragments.values()) if chosen is None else chosen
        self._sums.check(data_files(read))
        self._sums.check(deletion_files(read), folder=DELETIONS)
        with panics_as_errors():
            scanner = self._dataset.scanner(
                columns=list(columns), fragments=chosen, filter=where, with_row_id=True, with_row_address=addresses
            )
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


@functools.cache
def shared_session() -> Any:
    """Return the cache that all tables of this process share."""
    return _lance.Session(index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES)


def open_dataset(uri: str, storage_options: dict[str, str] | None) -> Any:
    """Open a table at its newest version.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    try:
        with panics_as_errors():
            return _lance.dataset(uri, session=shared_session(), storage_options=storage_options)
    except ValueError as error:
        # Lance says everything so, a store that cannot be reached too.
        if "was not found" in str(error):
            raise FileNotFoundError(uri) from error
        raise OSError(str(error)) from error


def data_files(fragments: Sequence[Any]) -> list[str]:
    """Return the names of the data files of fragments."""
    return [file.path for fragment in fragments for file in fragment.metadata.files]


def deletion_files(fragments: Sequence[Any]) -> list[str]:
    """Return the names of the deletion files of fragments."""
    known = (fragment.metadata for fragment in fragments)
    return [deletion_file(metadata) for metadata in known if metadata.deletion_file is not None]


def deletion_file(metadata: Any) -> str:
    """Return the name of the deletion file of a fragment that has one."""
    return PurePath(metadata.deletion_file.path(metadata.id)).name
