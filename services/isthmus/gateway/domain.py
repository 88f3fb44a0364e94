"""What the gateway's engine reasons about. Nothing here knows the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from isthmus.core.modality import Modality
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.guard import GuardTerms
from isthmus.runtime.base.structure_kinds import Kind

__all__ = [
    "ROW_COMPONENT_BYTES",
    "ROW_TYPE",
    "AlignedRows",
    "AlignerFiles",
    "AlignerInfo",
    "Collection",
    "Content",
    "EncodedBatch",
    "EncoderInfo",
    "Found",
    "JudgedPairs",
    "Neighbor",
    "PairRows",
    "PairedItems",
    "Row",
    "Stages",
    "StoredDigest",
    "StoredVector",
    "UpsertDraft",
    "UpsertReceipt",
]

ROW_TYPE: Final = "<f2"
"""numpy's name for the components of a row's bytes: little-endian float16."""
ROW_COMPONENT_BYTES: Final = 2
"""Bytes of one component."""


@dataclass(frozen=True, slots=True)
class Content:
    """One thing to embed, checked.

    Attributes:
        modality: What it is.
        data: An image file, or a text in UTF-8.
        digest: SHA-256 over both.
    """

    modality: Modality
    data: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One canonical raw embedding.

    Attributes:
        data: Its components, little-endian float16.
        truncated: True when the text it was made from was cut to the encoder's context.
    """

    data: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Which encoder this is, and its counters.

    Attributes:
        space: Its raw space, `encoder_id@revision`.
        modality: What it encodes.
        dimension: Components of its embeddings.
        context_tokens: Longest text in tokens; 0 for images.
        compute_type: Numeric type of its forward pass.
        device: Where it runs.
        encoded_items: Items that went through its forward pass since it started.
        forward_calls: Forward passes since it started.
    """

    space: str
    modality: Modality
    dimension: int
    context_tokens: int = 0
    compute_type: str = ""
    device: str = ""
    encoded_items: int = 0
    forward_calls: int = 0


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """What an encoder answered to a batch.

    Attributes:
        space: The raw space of the rows.
        dimension: Components of a row; 0 when every input failed.
        rows: One row or one error an input, in the order asked.
        queue_micros: Longest wait in the encoder's queue.
        encode_micros: Encoding.
    """

    space: str
    dimension: int
    rows: Sequence[Row | IsthmusError]
    queue_micros: int = 0
    encode_micros: int = 0


@dataclass(slots=True)
class Stages:
    """Where the time of one call went, in microseconds, and what the cache did for it."""

    queue_micros: int = 0
    encode_micros: int = 0
    align_micros: int = 0
    search_micros: int = 0
    cache_hits: int = 0
    cache_misses: int = 0

    def add(self, other: Stages) -> None:
        """Add another part of the same call: parts ran side by side, so the longest wait counts."""
        self.queue_micros = max(self.queue_micros, other.queue_micros)
        self.encode_micros = max(self.encode_micros, other.encode_micros)
        self.align_micros += other.align_micros
        self.search_micros += other.search_micros
        self.cache_hits += other.cache_hits
        self.cache_misses += other.cache_misses


@dataclass(frozen=True, slots=True)
class StoredDigest:
    """What a collection holds under one id.

    Attributes:
        content_digest: SHA-256 of its content; empty when it was given as a vector.
        space: Raw space of its embedding.
        metadata_digest: SHA-256 over everything else a caller may set.
    """

    content_digest: bytes
    space: str
    metadata_digest: bytes


@dataclass(frozen=True, slots=True)
class StoredVector:
    """The embedding of a stored item.

    Attributes:
        modality: What the item is made of.
        space: Raw space of its embedding.
        row: The embedding.
        content_digest: SHA-256 of the content it was made from; empty when it was given as a vector.
    """

    modality: Modality
    space: str
    row: Row
    content_digest: bytes = b""


@dataclass(frozen=True, slots=True)
class UpsertDraft:
    """An item on its way into a collection, its embedding made.

    Attributes:
        item_id: Its id.
        modality: What it is made of.
        row: Its canonical raw embedding.
        attributes: Its attributes.
        pair_key: Its pair key; empty means none.
        content_digest: SHA-256 of its content; empty when it was given as a vector.
        thumbnail: A small picture; empty means none.
        content_words: Words of its text; 0 where that is not known.
        text: Its text; empty when it was given otherwise.
    """

    item_id: str
    modality: Modality
    row: Row
    attributes: Mapping[str, AttributeScalar] = field(default_factory=dict)
    pair_key: str = ""
    content_digest: bytes = b""
    thumbnail: bytes = b""
    content_words: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class UpsertReceipt:
    """What the index writer did.

    Attributes:
        revision: The revision at which the items are durable.
        created_count: Items that were not there before.
        updated_count: Items that replaced another version.
        unchanged_count: Items that were stored just so already.
        errors: Items that were refused, by their position in the request.
    """

    revision: int
    created_count: int = 0
    updated_count: int = 0
    unchanged_count: int = 0
    errors: Mapping[int, IsthmusError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection at one revision.

    Attributes:
        name: Its name.
        image_space: Raw space of its images; empty when it takes none.
        text_space: Raw space of its texts; empty when it takes none.
        image_dimension: Dimension of the image space.
        text_dimension: Dimension of the text space.
        aligner: The active aligner; empty when there is none.
        store_thumbnails: Whether items may carry thumbnails.
        revision: Counter of applied mutations.
        image_count: Live image items.
        text_count: Live text items.
        guard: What an aligner may cost it.
        shadow_aligner: The aligner that is compared with the active one on real searches; empty when there is none.
        index: The kind of structure it asks for; None leaves it to the searchers.
        keyword_search: Whether the texts of text items are kept.
    """

    name: str
    image_space: str = ""
    text_space: str = ""
    image_dimension: int = 0
    text_dimension: int = 0
    aligner: str = ""
    store_thumbnails: bool = False
    revision: int = 0
    image_count: int = 0
    text_count: int = 0
    guard: GuardTerms = field(default_factory=GuardTerms)
    shadow_aligner: str = ""
    index: Kind | None = None
    keyword_search: bool = False

    def space(self, modality: Modality) -> str:
        """Return its raw space for a modality; empty when it takes none."""
        return self.image_space if modality is Modality.IMAGE else self.text_space

    def dimension(self, modality: Modality) -> int:
        """Return the dimension of its raw space for a modality."""
        return self.image_dimension if modality is Modality.IMAGE else self.text_dimension


@dataclass(frozen=True, slots=True)
class AlignerInfo:
    """An aligner without its tensors.

    Attributes:
        aligner: `aligner_id@revision`.
        image_space: Raw space of the images it accepts.
        text_space: Raw space of the texts it accepts.
        notice: What a person must know before using it; empty for most.
    """

    aligner: str
    image_space: str
    text_space: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class AlignerFiles:
    """An aligner as it is stored.

    Attributes:
        manifest: Bytes of its manifest.
        tensors: Bytes of its tensors.
    """

    manifest: bytes
    tensors: bytes


@dataclass(frozen=True, slots=True)
class AlignedRows:
    """Vectors in an aligned space.

    Attributes:
        space: The space, `aligner_id@revision`.
        data: The rows, little-endian float32.
        dimension: Components of a row.
    """

    space: str
    data: bytes
    dimension: int


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One search answer.

    Attributes:
        item_id: Id of the item.
        modality: Its modality.
        score: Cosine similarity in the space that was searched.
        calibrated_score: What a mixed result is ordered by.
        record: The answer as the searcher sent it; the gateway passes it on untouched.
    """

    item_id: str
    modality: Modality
    score: float
    calibrated_score: float
    record: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answers to a batch of queries.

    Attributes:
        neighbors: One list a query, best first.
        revision: The revision that was searched.
        space: The space that was searched.
        calibration: How scores of two modalities were made comparable, as the wire numbers it.
        align_micros: Aligning the queries.
        search_micros: Searching and merging.
        order: Equal while searches are answered from the same order.
        collection: That answered.
        shards_answered: Groups of searchers that answered; 0 where collections are not split.
        shards_total: Groups of searchers; 0 where collections are not split.
    """

    neighbors: Sequence[Sequence[Neighbor]]
    revision: int
    space: str
    calibration: int
    align_micros: int
    search_micros: int
    order: bytes = b""
    collection: str = ""
    shards_answered: int = 0
    shards_total: int = 0

    @property
    def is_partial(self) -> bool:
        """Whether a group of searchers is missing."""
        return self.shards_answered < self.shards_total


@dataclass(frozen=True, slots=True)
class PairedItems:
    """A batch of paired items of one modality.

    Attributes:
        modality: What they are made of.
        ids: Their ids.
        pair_keys: Their pair keys, as many.
        rows: Their raw embeddings, as many.
    """

    modality: Modality
    ids: Sequence[str]
    pair_keys: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class PairRows:
    """Raw embeddings of one modality and one space, each of one pair.

    Attributes:
        space: Their raw space.
        rows: The embeddings.
        pairs: Positions of their pairs in the request, as many.
    """

    space: str
    rows: Sequence[Row]
    pairs: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPairs:
    """What the searcher found of a batch of pairs.

    Attributes:
        records: One a pair, as the searcher sent it; the gateway passes it on untouched.
        errors: What is wrong with the pairs that could not be judged, by position.
        accept_above: Score above which a pair was accepted.
        refuse_below: Score below which one was refused.
        aligner: The aligner that was used; empty when there was none.
        calibration: Where the calibration comes from, as the wire numbers it.
        space: The space that pairs were compared in.
        revision: The revision that judged.
        align_micros: Aligning and scoring.
    """

    records: Sequence[object]
    errors: Mapping[int, IsthmusError]
    accept_above: float
    refuse_below: float
    aligner: str
    calibration: int
    space: str
    revision: int
    align_micros: int
