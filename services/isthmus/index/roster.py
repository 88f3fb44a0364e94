"""Which collections a searcher follows: all that the catalogs name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from isthmus.index.aliases import Alias
from isthmus.index.cache.recall import Recall
from isthmus.index.catalog import CatalogEntry, StorePaths, read_aliases, read_catalog
from isthmus.index.follower import Follower
from isthmus.index.metrics import forget_collection
from isthmus.index.table import AppendTable, TableView
from isthmus.index.watch import ChangeHint
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.shards import WHOLE, Shard

__all__ = ["Roster"]

log = logging.getLogger("isthmus.index")


class _TenantCatalog:
    """One tenant's catalog, as a reader sees it."""

    def __init__(self, paths: StorePaths, tenant: str) -> None:
        uri = paths.catalog(tenant)
        self._hint = ChangeHint(uri)
        self._table = AppendTable.open(uri, durable=False, storage_options=paths.storage_options)
        self._view: TableView | None = None
        self.entries: dict[str, CatalogEntry] = {}
        self.aliases: dict[str, Alias] = {}

    def is_current(self) -> bool:
        """Return True when the catalog holds no news."""
        return not self._hint.may_have_changed()

    def read(self) -> None:
        """Read the catalog again if it has a newer version."""
        stamp = self._hint.stamp()
        if self._view is None or self._view.latest_version() != self._view.version:
            self._view = self._table.view()
            self.entries, self.aliases = read_catalog(self._view), read_aliases(self._view)
        self._hint.settle(stamp)


class Roster:
    """The followers of every collection of every tenant. `update` is for one thread at a time; the rest is for any.

    Args:
        paths: Of the store.
        shard: The part of each collection that is held.
        recall: Says of a tenant's collection how what needs not be read from the store is found.
    """

    def __init__(
        self,
        paths: StorePaths,
        *,
        shard: Shard = WHOLE,
        recall: Callable[[str, CatalogEntry], Recall | None] = lambda _tenant, _entry: None,
    ) -> None:
        self._paths = paths
        self._shard = shard
        self._recall = recall
        self._tenants: dict[str, _TenantCatalog] = {}
        self._followers: dict[tuple[str, str], Follower] = {}

    def __iter__(self) -> Iterator[Follower]:
        return iter(tuple(self._followers.values()))

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose catalogs were read."""
        return tuple(self._tenants)

    def get(self, tenant: str, name: str) -> Follower | None:
        """Return a collection's follower, or None where no such collection is known."""
        return self._followers.get((tenant, name))

    def alias(self, tenant: str, name: str) -> Alias | None:
        """Return an alias, or None where no such alias is known."""
        catalog = self._tenants.get(tenant)
        return None if catalog is None else catalog.aliases.get(name)

    def is_current(self, tenant: str) -> bool:
        """Return True when the tenant's catalog holds no news. Cheap: a look at a time stamp.

        An object store has none to look at and is asked by polling alone: a request a search would cost too much.
        """
        catalog = self._tenants.get(tenant)
        return catalog is not None and (self._paths.is_remote or catalog.is_current())

    def are_current(self) -> bool:
        """Return True when no catalog that is known holds news; every second or so it returns False all the same."""
        return bool(self._tenants) and all(catalog.is_current() for catalog in tuple(self._tenants.values()))

    def update(self) -> tuple[Follower, ...]:
        """Read the catalogs; drop what is gone, add what is new.

        Returns:
            The new followers, which have loaded nothing yet.

        Raises:
            OSError: the store cannot be read.
        """
        for tenant in self._paths.tenants():
            if tenant not in self._tenants:
                try:
                    self._tenants[tenant] = _TenantCatalog(self._paths, tenant)
                except FileNotFoundError:  # the writer is about to make it
                    continue
        for catalog in self._tenants.values():
            catalog.read()
        wanted = {(tenant, name): entry for tenant in self._tenants for name, entry in self._entries(tenant)}
        followers = {
            key: follower
            for key, follower in self._followers.items()
            if key in wanted and wanted[key].uuid == follower.entry.uuid
        }
        fresh: dict[tuple[str, str], Follower] = {}
        for (tenant, name), entry in wanted.items():
            if (tenant, name) not in followers:
                fresh[tenant, name] = Follower(
                    tenant, entry, self._paths, shard=self._shard, recall=self._recall(tenant, entry)
                )
        gone = self._followers.keys() - wanted.keys()
        self._followers = followers | fresh
        for tenant, name in gone:
            forget_collection("searcher", tenant, name)
            log.info("collection dropped", extra=fields(collection=name))
        return tuple(fresh.values())

    def _entries(self, tenant: str) -> list[tuple[str, CatalogEntry]]:
        return list(self._tenants[tenant].entries.items())
