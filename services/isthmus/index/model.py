"""What the index is made of: collections, items, mutations and answers, without gRPC, Lance or FAISS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import CalibrationSource
from isthmus.core.modality import Modality
from isthmus.core.notes import value_text
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.guard import GuardTerms
from isthmus.runtime.base.limits import RESERVED_ATTRIBUTE_PREFIX
from isthmus.runtime.base.structure_kinds import Kind

__all__ = [
    "TEXT_NAME",
    "AlignerFiles",
    "CollectionInfo",
    "CollectionSettings",
    "Followed",
    "ItemBatch",
    "ItemFailure",
    "ItemReader",
    "ItemView",
    "Neighbor",
    "NewItem",
    "NotesWanted",
    "SearchResult",
    "SpacedVectors",
    "StoredDigest",
    "UpsertResult",
    "attribute_text",
    "attributes_from_json",
    "attributes_from_jsons",
    "attributes_to_json",
]

_WORDS: Final = f"{RESERVED_ATTRIBUTE_PREFIX}content_words"
TEXT_NAME: Final = f"{RESERVED_ATTRIBUTE_PREFIX}text"
"""What the text of an item is kept under among its attributes, where the collection keeps texts (docs/adr/0034)."""

Attributes: TypeAlias = Mapping[str, AttributeScalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSettings:
    """What a collection is from its first day to its last."""

    image_space: str
    """Raw space of its images; empty when it takes none."""
    text_space: str
    """Raw space of its texts; empty when it takes none."""
    image_dimension: int
    """Dimension of the image space; 0 when there is none."""
    text_dimension: int
    """Dimension of the text space; 0 when there is none."""
    store_thumbnails: bool = False
    """Whether items may carry thumbnails."""
    guard: GuardTerms = field(default_factory=GuardTerms)
    """What an aligner may cost it."""
    keyword_search: bool = False
    """Whether the texts of text items are kept, so that their words can be searched."""
    index: str = ""
    """The kind of structure that it wants to be searched by; empty leaves the choice to the searcher."""

    @property
    def index_kind(self) -> Kind | None:
        """The kind that it wants; None leaves the choice to the searcher, as does one that a later version knows."""
        return Kind(self.index) if self.index in set(Kind) else None

    def space(self, modality: Modality) -> str:
        """Return the raw space of `modality`, or empty."""
        return self.image_space if modality is Modality.IMAGE else self.text_space

    def dimension(self, modality: Modality) -> int:
        """Return the dimension of the raw space of `modality`, or 0."""
        return self.image_dimension if modality is Modality.IMAGE else self.text_dimension

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities it takes."""
        return tuple(modality for modality in Modality if self.space(modality))

    @property
    def needs_aligner(self) -> bool:
        """True when nothing compares across its modalities without an aligner."""
        return bool(self.image_space and self.text_space and self.image_space != self.text_space)

    def to_json(self) -> str:
        """Return the settings as the catalog stores them."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; a field that a later version added is ignored."""
        document = json.loads(text)
        known = {entry.name: document[entry.name] for entry in fields(cls) if entry.name in document}
        return cls(**(known | {"guard": GuardTerms(**document.get("guard", {}))}))


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionInfo:
    """A collection at one revision."""

    name: str
    settings: CollectionSettings
    aligner: str
    """The active aligner, `aligner_id@revision`; empty when there is none."""
    revision: int
    image_count: int
    text_count: int
    shadow_aligner: str = ""
    """The aligner that is compared with the active one on real searches; empty when there is none."""


@dataclass(frozen=True, slots=True)
class AlignerFiles:
    """An aligner's artefact as it travels and as it is stored: its two files."""

    manifest: bytes = field(repr=False)
    tensors: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item to store; its vector comes beside it."""

    id: str
    modality: Modality
    attributes: Attributes = field(default_factory=dict)
    pair_key: str = ""
    content_digest: bytes = b""
    """SHA-256 of its content; empty when it was given as a vector."""
    thumbnail: bytes = b""
    content_words: int = 0
    """Words of its text; 0 where that is not known."""
    text: str = ""
    """Its text, where the collection keeps texts."""


@dataclass(frozen=True, slots=True)
class SpacedVectors:
    """Rows of one raw space.

    Attributes:
        space: `encoder_id@revision`.
        rows: (n, d) float32, canonical.
    """

    space: str
    rows: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why one item of a batch was refused.

    Attributes:
        index: Its position in the batch.
        error: What is wrong with it.
    """

    index: int
    error: IsthmusError


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertResult:
    """What an upsert did."""

    revision: int
    created_count: int
    updated_count: int
    unchanged_count: int
    failures: tuple[ItemFailure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDigest:
    """What is stored under an id."""

    content_digest: bytes
    space: str
    metadata_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemView:
    """An item as a reader sees it."""

    id: str
    modality: Modality
    attributes: Attributes
    pair_key: str
    space: str
    content_digest: bytes
    revision: int
    embedding: NDArray[np.float32] | None = None
    """(d,) float32 raw embedding, when asked for."""
    thumbnail: bytes = b""
    content_words: int = 0
    """Words of its text; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One search answer.

    Attributes:
        item: The item, without embedding.
        score: Cosine similarity in the searched space.
        calibrated_score: What a mixed result is ordered by.
        probability: Probability of a match; None without a fitted calibration.
        keyword_score: BM25 score of its text; None where it holds none of the words, or none were asked for.
    """

    item: ItemView
    score: float
    calibrated_score: float
    probability: float | None
    keyword_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answers to a batch of queries."""

    neighbors: tuple[tuple[Neighbor, ...], ...]
    """One tuple a query, best first."""
    revision: int
    space: str
    """The aligned space that was searched, or the raw space."""
    calibration: CalibrationSource | None
    """None when no calibration was needed."""
    align_s: float
    search_s: float
    order: bytes = b""
    """Equal while searches are answered from the same order."""


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """Items of one modality with their raw embeddings.

    Attributes:
        modality: Of all of them.
        ids: Their ids.
        pair_keys: As many; empty where there is none.
        embeddings: (n, d) float32, as many rows.
        values: Of the attribute that was asked for, as text, as many; none where nobody asked.
        words: As many numbers of words; none where nobody asked.
        row_ids: Where they lie in the store, as many.
    """

    modality: Modality
    ids: tuple[str, ...]
    pair_keys: tuple[str, ...]
    embeddings: NDArray[np.float32]
    values: tuple[str, ...] = ()
    words: tuple[int, ...] = ()
    row_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotesWanted:
    """What a reader wants to know of items beside their embeddings."""

    attribute: str = ""
    """The value of this attribute; empty for none."""
    words: bool = False
    """The number of words."""


@dataclass(frozen=True, slots=True)
class ItemReader:
    """A collection pinned at one revision, to be read through.

    Attributes:
        info: The collection.
        aligner: The active aligner, or None.
        batches: Its items; all of them are of that revision, whatever is written meanwhile.
    """

    info: CollectionInfo
    aligner: AlignerFiles | None
    batches: AsyncIterator[ItemBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A collection, as a searcher holds it.

    Attributes:
        tenant: Whose it is.
        uid: Told apart from an earlier collection of the same name by this.
        info: The collection.
        changed_count: Items stored above the revision that the caller knows; all of them when it knows none.
    """

    tenant: str
    uid: str
    info: CollectionInfo
    changed_count: int


def attributes_to_json(attributes: Attributes, *, content_words: int = 0, text: str = "") -> bytes:
    """Return attributes as the store keeps them: UTF-8 JSON, keys sorted, types kept (1, 1.0 and true differ).

    Args:
        attributes: None begins with RESERVED_ATTRIBUTE_PREFIX.
        content_words: Kept among them under a reserved name unless it is 0 (docs/adr/0022).
        text: Likewise, unless it is empty (docs/adr/0034).
    """
    known = dict(attributes) | ({_WORDS: content_words} if content_words else {}) | ({TEXT_NAME: text} if text else {})
    if not known:
        return b"{}"
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def attributes_from_json(data: bytes) -> tuple[Attributes, int]:
    """Read what `attributes_to_json` wrote: the attributes, and the number of words, 0 where that is not known."""
    return ({}, 0) if data == b"{}" else attributes_from_jsons([data])[0]


def attributes_from_jsons(documents: Sequence[bytes]) -> list[tuple[Attributes, int]]:
    """Read many at once, which takes a quarter of the time of one by one."""
    found: list[dict[str, AttributeScalar]] = json.loads(f"[{b','.join(documents).decode()}]")
    told: list[tuple[Attributes, int]] = []
    for attributes in found:
        words = attributes.pop(_WORDS, 0)
        attributes.pop(TEXT_NAME, None)
        told.append((attributes, words if isinstance(words, int) else 0))
    return told


def attribute_text(attributes: Attributes, name: str) -> str:
    """Return the value of an attribute as text; empty where there is none."""
    value = attributes.get(name)
    return "" if value is None else value_text(value)
