"""What calls for backups return."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.collections.results import Collection

__all__ = ["Backup", "RestoreResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of a collection."""

    collection: str
    """Its name."""
    revision: int
    """That was copied."""
    oldest_revision: int
    """The oldest that it can be restored to."""
    images: int
    """Items of images at that revision."""
    texts: int
    """Items of texts at that revision."""
    aligner: str
    """The active aligner, `aligner_id@revision`; empty when there was none."""
    files: int
    """Files it is made of, the manifest not counted."""
    bytes: int
    """What they hold together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What a restore did."""

    collection: Collection
    """The collection, at its new revision."""
    restored_revision: int
    """Of the backup, that was restored."""
    created: int
    """Items that were put back."""
    updated: int
    """Items that replaced another version."""
    deleted: int
    """Items that were removed."""
    unchanged: int
    """Items that were just so already."""
