"""Which collections a tenant has: an append-only table whose newest row of a name decides.

A collection's events lie in a table named by a fresh uuid. It is created first and named in the catalog afterwards: the
append to the catalog is the commit, with no rename, so that an object store serves as well as a folder. Deleting
appends a tombstone, and only then removes the files; a name used again gets another uuid.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
from pyarrow import fs

from isthmus.index.model import CollectionSettings
from isthmus.index.table import AppendTable, TableView
from isthmus.runtime.base.errors import AlreadyExistsError, NotFoundError

__all__ = ["Catalog", "CatalogEntry", "StorePaths", "read_catalog"]

_CREATE: Final = "create"
_DELETE: Final = "delete"

_SCHEMA: Final = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("op", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("uuid", pa.string(), nullable=False),
        pa.field("settings", pa.string(), nullable=False),  # JSON
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("time", pa.int64(), nullable=False),  # microseconds since 1970
    ]
)


@dataclass(frozen=True, slots=True)
class StorePaths:
    """Where everything lies below one root, a folder or the URI of one.

    Attributes:
        root: Without a slash at its end.
    """

    root: str

    def catalog(self, tenant: str) -> str:
        """Return the URI of a tenant's catalog."""
        return f"{self.root}/{tenant}/catalog.lance"

    def events(self, tenant: str, collection_uuid: str) -> str:
        """Return the URI of a collection's event table."""
        return f"{self.root}/{tenant}/{collection_uuid}.lance"

    def tenants(self) -> tuple[str, ...]:
        """Return the tenants that have a folder."""
        files, base = self._file_system(self.root)
        found = files.get_file_info(fs.FileSelector(base, allow_not_found=True))
        return tuple(sorted(entry.base_name for entry in found if entry.type == fs.FileType.Directory))

    def remove(self, uri: str) -> None:
        """Remove a table's files; it may be gone already."""
        files, path = self._file_system(uri)
        if files.get_file_info(path).type != fs.FileType.NotFound:
            files.delete_dir(path)

    @staticmethod
    def _file_system(uri: str) -> tuple[fs.FileSystem, str]:
        return fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A collection that exists."""

    name: str
    uuid: str
    settings: CollectionSettings
    request_id: str
    """Of the request that created it."""


@dataclass(slots=True)
class _Replayed:
    """What the rows of a catalog amount to."""

    entries: dict[str, CatalogEntry] = field(default_factory=dict)
    deleted_by: dict[str, str] = field(default_factory=dict)
    """Names by the request that deleted them."""
    deleted_uuids: list[str] = field(default_factory=list)
    sequence: int = 0


def read_catalog(view: TableView) -> dict[str, CatalogEntry]:
    """Return a tenant's collections by name."""
    return _replay(view).entries


def _replay(view: TableView) -> _Replayed:
    rows = [row for batch in view.scan(_SCHEMA.names) for row in batch.to_pylist()]
    replayed = _Replayed()
    for row in sorted(rows, key=lambda row: row["sequence"]):
        replayed.sequence = row["sequence"]
        if row["op"] == _CREATE:
            replayed.entries[row["name"]] = CatalogEntry(
                name=row["name"],
                uuid=row["uuid"],
                settings=CollectionSettings.from_json(row["settings"]),
                request_id=row["request_id"],
            )
        else:
            replayed.entries.pop(row["name"], None)
            replayed.deleted_by[row["request_id"]] = row["name"]
            replayed.deleted_uuids.append(row["uuid"])
    return replayed


class Catalog:
    """The writer's side of one tenant's catalog. Not for several threads at once.

    Args:
        paths: Of the store.
        tenant: Whose catalog it is; it is made when absent.
        durable: Sync every commit.
    """

    def __init__(self, paths: StorePaths, tenant: str, *, durable: bool) -> None:
        uri = paths.catalog(tenant)
        try:
            self._table = AppendTable.open(uri, durable=durable)
        except FileNotFoundError:
            self._table = AppendTable.create(uri, _SCHEMA.empty_table(), durable=durable)
        replayed = _replay(self._table.view())
        self._entries, self._deleted_by, self._sequence = replayed.entries, replayed.deleted_by, replayed.sequence
        # A crash may have come between a tombstone and the removal of the files. Files that the catalog does not know
        # are left alone: better to leak a table than to trust a damaged catalog.
        for collection_uuid in replayed.deleted_uuids:
            paths.remove(paths.events(tenant, collection_uuid))

    @property
    def entries(self) -> dict[str, CatalogEntry]:
        """The collections by name."""
        return dict(self._entries)

    def get(self, name: str) -> CatalogEntry:
        """Return a collection.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
        """
        entry = self._entries.get(name)
        if entry is None:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return entry

    @staticmethod
    def new_uuid() -> str:
        """Return a name for an event table."""
        return uuid.uuid4().hex

    def find_created(self, name: str, request_id: str) -> CatalogEntry | None:
        """Return the collection if this very request created it, None if the name is free.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS; another request created it.
        """
        entry = self._entries.get(name)
        if entry is not None and entry.request_id != request_id:
            msg = "the collection is there already"
            raise AlreadyExistsError(msg, reason="COLLECTION_EXISTS")
        return entry

    def was_deleted_by(self, name: str, request_id: str) -> bool:
        """Return True if this very request deleted that collection."""
        return self._deleted_by.get(request_id) == name

    def add(self, entry: CatalogEntry) -> None:
        """Append a collection; it exists when this returns."""
        self._append(_CREATE, entry, entry.request_id)
        self._entries[entry.name] = entry

    def remove(self, entry: CatalogEntry, request_id: str) -> None:
        """Append a tombstone; the collection is gone when this returns, its files are not yet."""
        self._append(_DELETE, entry, request_id)
        del self._entries[entry.name]
        self._deleted_by[request_id] = entry.name

    def maintain(self, *, fan_out: int, keep_versions_s: float) -> None:
        """Merge small files, as `AppendTable.maintain`."""
        self._table.maintain(fan_out=fan_out, keep_versions_s=keep_versions_s)

    def _append(self, op: str, entry: CatalogEntry, request_id: str) -> None:
        row = {
            "sequence": self._sequence + 1,
            "op": op,
            "name": entry.name,
            "uuid": entry.uuid,
            "settings": entry.settings.to_json(),
            "request_id": request_id,
            "time": time.time_ns() // 1000,
        }
        self._table.append(pa.Table.from_pylist([row], schema=_SCHEMA))
        self._sequence += 1
