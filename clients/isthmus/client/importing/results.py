"""What the call for files of rows takes and returns."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.results import ItemError

__all__ = ["ImportFile", "ImportResult", "ImportedFile"]


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file of rows in the writer's import folder.

    Attributes:
        name: Without suffix, `^[a-z0-9][a-z0-9_-]{0,62}$`.
        digest: SHA-256 of its bytes.
    """

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedFile:
    """One file is stored."""

    name: str
    """Its name."""
    revision: int
    """Revision of the collection at which its items can be read."""
    created: int
    """Items that were not there before."""
    updated: int
    """Items that replaced another version."""
    unchanged: int
    """Items that were stored just so already."""
    errors: tuple[ItemError, ...]
    """Items that were refused, by their row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What became of files."""

    files: tuple[ImportedFile, ...]
    """Those that were stored."""
    errors: tuple[ItemError, ...]
    """Those that were refused as a whole, by their position."""
