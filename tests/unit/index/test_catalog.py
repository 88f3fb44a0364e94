"""The catalog of collections."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.index.catalog import Catalog, CatalogEntry, StorePaths, read_catalog
from isthmus.index.table import AppendTable
from isthmus.runtime.base.errors import AlreadyExistsError, NotFoundError
from tests.unit.index.support import ONE_SPACE, TWO_SPACES


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    """An empty store."""
    return StorePaths(str(tmp_path))


def _entry(name: str, request_id: str = "r", **changes: object) -> CatalogEntry:
    values = {"name": name, "uuid": Catalog.new_uuid(), "settings": ONE_SPACE, "request_id": request_id}
    return CatalogEntry(**(values | changes))  # type: ignore[arg-type]


def test_what_was_added_is_there_after_a_restart(paths: StorePaths) -> None:
    """Entries come back with their settings, to the writer and to a reader alike."""
    entry = _entry("things", settings=TWO_SPACES)
    Catalog(paths, "tenant", durable=True).add(entry)
    assert Catalog(paths, "tenant", durable=True).entries == {"things": entry}
    assert read_catalog(AppendTable.open(paths.catalog("tenant"), durable=False).view()) == {"things": entry}
    assert paths.tenants() == ("tenant",)


def test_a_deleted_collection_is_gone_and_its_name_is_free(paths: StorePaths) -> None:
    """A name used again stands for another collection."""
    catalog = Catalog(paths, "tenant", durable=False)
    catalog.add(_entry("things", "first"))
    catalog.remove(catalog.get("things"), "second")
    with pytest.raises(NotFoundError):
        catalog.get("things")
    again = _entry("things", "third")
    catalog.add(again)
    assert Catalog(paths, "tenant", durable=False).get("things") == again


def test_a_creation_repeated_finds_its_own_collection(paths: StorePaths) -> None:
    """The same request is no conflict; another request is."""
    catalog = Catalog(paths, "tenant", durable=False)
    entry = _entry("things", "first")
    assert catalog.find_created("things", "first") is None
    catalog.add(entry)
    assert Catalog(paths, "tenant", durable=False).find_created("things", "first") == entry
    with pytest.raises(AlreadyExistsError):
        catalog.find_created("things", "second")


def test_a_deletion_repeated_is_recognised_after_a_restart(paths: StorePaths) -> None:
    """The tombstone remembers which request it came from, and of which collection."""
    catalog = Catalog(paths, "tenant", durable=False)
    catalog.add(_entry("things", "first"))
    catalog.remove(catalog.get("things"), "second")
    reopened = Catalog(paths, "tenant", durable=False)
    assert reopened.was_deleted_by("things", "second")
    assert not reopened.was_deleted_by("others", "second")
    assert not reopened.was_deleted_by("things", "first")


def test_files_left_by_a_crash_after_a_tombstone_are_removed(paths: StorePaths) -> None:
    """A restart finishes a deletion; a table that the catalog never heard of is left alone."""
    catalog = Catalog(paths, "tenant", durable=False)
    entry = _entry("things")
    catalog.add(entry)
    catalog.remove(entry, "second")
    left = Path(paths.events("tenant", entry.uuid))
    unknown = Path(paths.events("tenant", Catalog.new_uuid()))
    for folder in (left, unknown):
        folder.mkdir()
    Catalog(paths, "tenant", durable=False)
    assert not left.exists()
    assert unknown.exists()


def test_many_changes_are_replayed_in_their_order(paths: StorePaths) -> None:
    """Merging the catalog's files does not change what it says."""
    catalog = Catalog(paths, "tenant", durable=False)
    for number in range(30):
        catalog.add(_entry("things", f"create-{number}"))
        catalog.remove(catalog.get("things"), f"delete-{number}")
        catalog.maintain(fan_out=4, keep_versions_s=300.0)
    last = _entry("things", "last")
    catalog.add(last)
    assert Catalog(paths, "tenant", durable=False).entries == {"things": last}
