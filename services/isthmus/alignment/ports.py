"""What the engine needs from the outside: a way to read a collection's items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Artefact
from isthmus.core.modality import Modality
from isthmus.runtime.base.guard import GuardTerms

__all__ = ["CollectionHead", "FollowedCollection", "FollowedCollections", "ItemBatch", "ItemReader", "NotesWanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionHead:
    """A collection at a pinned revision."""

    image_space: str
    """Raw space of its images; empty when it holds none."""
    text_space: str
    """Raw space of its texts; empty when it holds none."""
    revision: int
    """The revision that every batch is read at."""
    aligner: Artefact | None
    """The active aligner."""
    item_count: int
    """Live items of both modalities."""
    guard: GuardTerms = field(default_factory=GuardTerms)
    """What an aligner may cost it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemBatch:
    """Some items of one modality."""

    modality: Modality
    ids: Sequence[str]
    pair_keys: Sequence[str]
    """One an item; empty where it has none."""
    vectors: NDArray[np.float32]
    """(n, d) float32, canonical raw embeddings."""
    values: Sequence[str] = ()
    """Of the attribute that was asked for, as text, one an item; none where nobody asked."""
    words: Sequence[int] = ()
    """Words of each text, 0 where that is not known; none where nobody asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotesWanted:
    """What a job wants to know of items beside their embeddings; it costs a reader a little."""

    attribute: str = ""
    """The value of this attribute; empty for none."""
    words: bool = False
    """The number of words."""


class ItemReader(Protocol):
    """Reads collections; the gRPC one lives in `service.py`."""

    def read(
        self, collection: str, *, min_revision: int, paired_only: bool, notes: NotesWanted | None = None
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield the head once, then batches until the collection is read.

        Args:
            collection: Its name, in the tenant of the call being served.
            min_revision: Read at this revision or a later one.
            paired_only: Leave out items without a pair key.
            notes: What to say of items beside; None for nothing.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedCollection:
    """A collection of some tenant, as the searcher holds it."""

    tenant: str
    name: str
    uid: str
    """Told apart from an earlier collection of the same name by this."""
    revision: int
    aligner: str
    """The active aligner; empty for none."""
    item_count: int
    """Live items of both modalities."""
    changed_count: int
    """Of these, items stored above the revision that was known."""


class FollowedCollections(Protocol):
    """What watching needs of the searcher; the gRPC one lives in `watch_calls.py`."""

    async def followed(self, known: Mapping[tuple[str, str], int]) -> Sequence[FollowedCollection]:
        """Return the collections of every tenant.

        Args:
            known: Revisions that are known already, by tenant and name.
        """
        ...

    def read_sample(
        self, tenant: str, collection: str, *, count: int, seed: int
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield the head once, then batches of the items of about `count` pair keys."""
        ...
