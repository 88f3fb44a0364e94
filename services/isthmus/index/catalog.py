"""Which collections a tenant has: an append-only table whose newest row of a name decides.

A collection's events lie in a table named by a fresh uuid. It is created first and named in the catalog afterwards: the
append to the catalog is the commit, with no rename, so that an object store serves as well as a folder. Deleting
appends a tombstone, and only then removes the files; a name used again gets another uuid.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import fs

from isthmus.index.aliases import Alias, alias_not_found, collection_has_alias, name_is_alias
from isthmus.index.model import CollectionSettings
from isthmus.index.table import AppendTable, TableView
from isthmus.runtime.base.errors import AlreadyExistsError, NotFoundError
from isthmus.runtime.base.object_store import ObjectStore

__all__ = ["Catalog", "CatalogEntry", "StorePaths", "read_aliases", "read_catalog"]

_CREATE: Final = "create"
_DELETE: Final = "delete"
_SET_ALIAS: Final = "alias"
_DELETE_ALIAS: Final = "unalias"
# Versions without aliases take a row of theirs for the tombstone of a collection that they do not know: it has no uuid.

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
        reach: How, when it is in an object store.
    """

    root: str
    reach: ObjectStore = field(default_factory=ObjectStore)

    @classmethod
    def at(cls, location: Path | str, reach: ObjectStore) -> StorePaths:
        """Return the paths of a store in a folder, or at a URI."""
        return cls(str(location.resolve()) if isinstance(location, Path) else location, reach)

    @property
    def is_remote(self) -> bool:
        """True in an object store."""
        return "://" in self.root

    @property
    def storage_options(self) -> dict[str, str] | None:
        """What Lance needs to reach it."""
        return self.reach.lance_options(self.root)

    @property
    def epoch(self) -> str:
        """Return the URI of the table whose version is the writer's epoch."""
        return f"{self.root}/epoch.lance"

    def catalog(self, tenant: str) -> str:
        """Return the URI of a tenant's catalog."""
        return f"{self.root}/{tenant}/catalog.lance"

    def events(self, tenant: str, collection_uuid: str) -> str:
        """Return the URI of a collection's event table."""
        return f"{self.root}/{tenant}/{collection_uuid}.lance"

    def tenants(self) -> tuple[str, ...]:
        """Return the tenants that have a folder."""
        files, base = self.reach.file_system(self.root)
        found = files.get_file_info(fs.FileSelector(base, allow_not_found=True))
        # A tenant's name has no dot in it; `epoch.lance` has.
        folders = (entry.base_name for entry in found if entry.type == fs.FileType.Directory)
        return tuple(sorted(name for name in folders if "." not in name))

    def remove(self, uri: str) -> None:
        """Remove a table's files; it may be gone already."""
        files, path = self.reach.file_system(uri)
        if files.get_file_info(path).type != fs.FileType.NotFound:
            files.delete_dir(path)


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
    aliases: dict[str, Alias] = field(default_factory=dict)
    aliased_by: dict[str, Alias] = field(default_factory=dict)
    """Aliases by the request that set them."""
    sequence: int = 0


def read_aliases(view: TableView) -> dict[str, Alias]:
    """Return a tenant's aliases by name."""
    return _replay(view).aliases


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
        elif row["op"] == _SET_ALIAS:
            alias = Alias.from_json(
                row["settings"], name=row["name"], request_id=row["request_id"], time_us=row["time"]
            )
            replayed.aliases[alias.name] = replayed.aliased_by[alias.request_id] = alias
        elif row["op"] == _DELETE_ALIAS:
            replayed.aliases.pop(row["name"], None)
            replayed.deleted_by[row["request_id"]] = row["name"]
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
        check: Raises when another writer has taken the store.
        pin: Of this writer's claims; see `AppendTable.claim`.

    Raises:
        OSError: the store cannot be read or written.
    """

    def __init__(
        self,
        paths: StorePaths,
        tenant: str,
        *,
        durable: bool,
        check: Callable[[], None] = lambda: None,
        pin: str = "",
    ) -> None:
        uri, options = paths.catalog(tenant), paths.storage_options
        try:
            self._table = AppendTable.open(uri, durable=durable, storage_options=options)
        except FileNotFoundError:
            rows = _SCHEMA.empty_table()
            self._table = AppendTable.create(uri, rows, durable=durable, storage_options=options)
        # A catalog that was just made is claimed as well: a later writer may have looked for catalogs before it was
        # there, and then the check finds that writer.
        self._table.claim(check=check, pin=pin)
        replayed = _replay(self._table.view())
        self._entries, self._deleted_by, self._sequence = replayed.entries, replayed.deleted_by, replayed.sequence
        self._aliases, self._aliased_by = replayed.aliases, replayed.aliased_by
        # A crash may have come between a tombstone and the removal of the files. Files that the catalog does not know
        # are left alone: better to leak a table than to trust a damaged catalog.
        for collection_uuid in replayed.deleted_uuids:
            paths.remove(paths.events(tenant, collection_uuid))

    @property
    def entries(self) -> dict[str, CatalogEntry]:
        """The collections by name."""
        return dict(self._entries)

    @property
    def aliases(self) -> dict[str, Alias]:
        """The aliases by name."""
        return dict(self._aliases)

    def resolved(self, name: str) -> str:
        """Return the name of the collection that a name stands for."""
        alias = self._aliases.get(name)
        return name if alias is None else alias.collection

    def get(self, name: str) -> CatalogEntry:
        """Return a collection by its own name.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: NAME_IS_ALIAS.
        """
        if name in self._aliases:
            raise name_is_alias(self._aliases[name])
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
            FailedPreconditionError: NAME_IS_ALIAS.
        """
        if name in self._aliases:
            raise name_is_alias(self._aliases[name])
        entry = self._entries.get(name)
        if entry is not None and entry.request_id != request_id:
            msg = "the collection is there already"
            raise AlreadyExistsError(msg, reason="COLLECTION_EXISTS")
        return entry

    def was_deleted_by(self, name: str, request_id: str) -> bool:
        """Return True if this very request deleted that collection."""
        return self._deleted_by.get(request_id) == name

    def check_unaliased(self, name: str) -> None:
        """Refuse to take a collection away from whoever calls it by another name.

        Raises:
            FailedPreconditionError: COLLECTION_HAS_ALIAS.
        """
        for alias in self._aliases.values():
            if alias.collection == name:
                raise collection_has_alias(alias)

    def alias_set_by(self, name: str, request_id: str) -> Alias | None:
        """Return what this very request made of an alias; None when it is new."""
        alias = self._aliased_by.get(request_id)
        return alias if alias is not None and alias.name == name else None

    def set_alias(self, alias: Alias) -> Alias:
        """Append an alias; it points where it is to when this returns."""
        stamp = self._append_row(
            op=_SET_ALIAS, name=alias.name, uuid="", settings=alias.to_json(), request_id=alias.request_id
        )
        alias = replace(alias, time_us=stamp)
        self._aliases[alias.name] = self._aliased_by[alias.request_id] = alias
        return alias

    def remove_alias(self, name: str, request_id: str) -> None:
        """Append the end of an alias; it is gone when this returns.

        Raises:
            NotFoundError: ALIAS_NOT_FOUND.
        """
        if name not in self._aliases:
            raise alias_not_found()
        self._append_row(op=_DELETE_ALIAS, name=name, uuid="", settings="{}", request_id=request_id)
        del self._aliases[name]
        self._deleted_by[request_id] = name

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
        settings = entry.settings.to_json()
        self._append_row(op=op, name=entry.name, uuid=entry.uuid, settings=settings, request_id=request_id)

    def _append_row(self, **values: str) -> int:
        """Append a row; return its time stamp."""
        stamp = time.time_ns() // 1000
        row = {"sequence": self._sequence + 1, "time": stamp, **values}
        self._table.append(pa.Table.from_pylist([row], schema=_SCHEMA))
        self._sequence += 1
        return stamp
