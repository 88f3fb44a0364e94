"""What calls for storing, reading and deleting items return."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.client.inputs import AttributeValue, Modality
from isthmus.client.results import ItemError, Timings

__all__ = ["DeleteResult", "EraseResult", "GetResult", "StoredItem", "UpsertAck", "UpsertSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertAck:
    """One message of an upsert is durable."""

    request_id: str
    """Names the mutation; empty when all items of the message were refused before they were sent."""
    revision: int
    """Revision of the collection at which its items can be read; 0 when nothing was sent."""
    items: int
    """Items in the message, refused ones included."""
    created: int
    """Items that were not there before."""
    updated: int
    """Items that replaced another version."""
    unchanged: int
    """Items that were stored just so already; they cost no encoding."""
    errors: tuple[ItemError, ...]
    """One for each item that was refused."""
    truncated: tuple[str, ...]
    """Ids of the texts that were cut to the model's context."""
    timings: Timings
    """Where the time went."""
    collection: str = ""
    """The collection that was written, where an alias was named too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertSummary:
    """A whole upsert."""

    revision: int
    """Revision at which all items can be read."""
    items: int
    """Items given."""
    created: int
    """Items that were not there before."""
    updated: int
    """Items that replaced another version."""
    unchanged: int
    """Items that were stored just so already."""
    errors: tuple[ItemError, ...]
    """One for each item that was refused."""
    truncated: tuple[str, ...]
    """Ids of the texts that were cut to the model's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What a delete did."""

    revision: int
    """Revision at which the items are gone."""
    deleted: int
    """Items that were there."""
    collection: str = ""
    """The collection that was written, where an alias was named too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseResult:
    """What an erasure did."""

    revision: int
    """Revision at which the items are gone."""
    deleted: int
    """Items that were there; those that were deleted before are erased as well."""
    time: dt.datetime
    """When the last copy that the mesh could reach went."""
    gaps: tuple[str, ...]
    """Where copies may still lie: "backups" always, "shared_cache", "searcher_files", "unfinished_writes",
    "import_folder"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """An item as the collection holds it."""

    id: str
    """Its id."""
    modality: Modality
    """What it is made of."""
    attributes: Mapping[str, AttributeValue]
    """Its attributes."""
    pair_key: str
    """Items of different modality with the same key are a pair; may be empty."""
    space: str
    """Raw space of its embedding."""
    embedding: NDArray[np.float32] | None
    """(d,) float32, only when asked for."""
    thumbnail: bytes
    """A small picture, only when asked for and stored."""
    content_digest: bytes
    """SHA-256 of what it was made from; empty when it was given as a vector."""
    revision: int
    """Revision of the mutation that wrote it."""
    content_words: int = 0
    """Words of the text it was made from; 0 where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResult:
    """Items that are there, in the order asked; one that is not there is left out."""

    items: tuple[StoredItem, ...]
    """The items."""
    revision: int
    """Revision they were read at (the oldest, where it took several messages)."""
    collection: str = ""
    """The collection that answered, where an alias was asked too."""
