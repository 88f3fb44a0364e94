"""What calls return: frozen values with numpy arrays, no wire types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.client.errors import IsthmusError, error_class
from isthmus.client.inputs import AttributeValue, GuardLimits, Modality

__all__ = [
    "Aligner",
    "CacheStatus",
    "Calibration",
    "Collection",
    "Comparison",
    "DeleteResult",
    "EmbedResult",
    "Embeddings",
    "EncoderStatus",
    "EvaluationReport",
    "FitProgress",
    "GapReport",
    "GetResult",
    "ItemError",
    "MixedRetrieval",
    "Neighbor",
    "RecallAt",
    "SearchResult",
    "Status",
    "StoredItem",
    "Timings",
    "UpsertAck",
    "UpsertSummary",
    "VerificationReport",
]

Calibration = Literal["none", "fitted", "estimated", "default"]
"""How scores of the two modalities were made comparable; `none` when only one modality was searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of a call went, in microseconds; a stage that did not run is 0."""

    total_micros: int = 0
    """The whole call inside the mesh."""
    queue_micros: int = 0
    """Longest wait of an input for an encoder."""
    encode_micros: int = 0
    """Encoding, preprocessing included."""
    align_micros: int = 0
    """Aligning queries."""
    search_micros: int = 0
    """Searching and merging."""
    rerank_micros: int = 0
    """Re-ranking."""
    cache_hits: int = 0
    """Inputs answered from a cache or from stored vectors."""
    cache_misses: int = 0
    """Inputs that had to be encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemError:
    """Why one input or item was refused; its neighbours were not harmed."""

    index: int
    """Its position among all inputs or items of the call, from 0."""
    id: str
    """The item's id; empty for an input to embed."""
    code: str
    """Name of a `google.rpc.Code`."""
    reason: str
    """Name of an `isthmus.v1.ErrorReason` without its prefix."""
    message: str
    """What is wrong, for a person."""
    metadata: Mapping[str, str]
    """The variable parts of the message."""

    def to_exception(self) -> IsthmusError:
        """Return the exception that a call of this item alone would raise."""
        return error_class(self.code)(self.message, code=self.code, reason=self.reason, metadata=self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Embeddings of one modality, a row for each input that succeeded."""

    space: str
    """`encoder_id@revision`, or `aligner_id@revision` when aligned; empty when there is no row."""
    vectors: NDArray[np.float32]
    """(n, d) float32, rows of unit norm."""
    indexes: NDArray[np.int64]
    """(n,) int64: row i belongs to input number `indexes[i]`."""

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResult:
    """Embeddings of inputs. They are numbered as given; images come before texts."""

    images: Embeddings
    """Rows of the images."""
    texts: Embeddings
    """Rows of the texts."""
    errors: tuple[ItemError, ...]
    """One for each input that was refused."""
    truncated: tuple[int, ...]
    """Numbers of the texts that were cut to the model's context."""
    timings: Timings
    """Sums over the messages it took."""

    def vector(self, index: int) -> NDArray[np.float32]:
        """Return the embedding of input number `index`, (d,) float32.

        Raises:
            IsthmusError: that input was refused.
            IndexError: there was no such input.
        """
        for batch in (self.images, self.texts):
            found = np.flatnonzero(batch.indexes == index)
            if found.size:
                row: NDArray[np.float32] = batch.vectors[found[0]]
                return row
        for error in self.errors:
            if error.index == index:
                raise error.to_exception()
        msg = f"there is no input number {index}"
        raise IndexError(msg)

    def raise_for_errors(self) -> None:
        """Do nothing when every input has its row.

        Raises:
            IsthmusError: of the first input that was refused.
        """
        if self.errors:
            raise self.errors[0].to_exception()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResult:
    """Items that are there, in the order asked; one that is not there is left out."""

    items: tuple[StoredItem, ...]
    """The items."""
    revision: int
    """Revision they were read at (the oldest, where it took several messages)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """One search answer."""

    item: StoredItem
    """The item, without embedding."""
    score: float
    """Cosine similarity in the space that was searched, in [-1, 1]."""
    calibrated_score: float
    """What a mixed result is ordered by: logits when `probability` is set, else standard deviations."""
    probability: float | None
    """Probability of a match; only under a fitted calibration."""

    @property
    def id(self) -> str:
        """The item's id."""
        return self.item.id

    @property
    def modality(self) -> Modality:
        """The item's modality."""
        return self.item.modality


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answers to one query."""

    neighbors: tuple[Neighbor, ...]
    """Best first."""
    revision: int
    """Revision that was searched."""
    space: str
    """Space that was searched."""
    calibration: Calibration
    """How scores of the two modalities were made comparable."""
    truncated: bool
    """True when the query text was cut to the model's context."""
    degraded: tuple[str, ...]
    """Optional parts that were left out, for example `cache`."""
    timings: Timings
    """Where the time went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of items."""

    name: str
    """Its name."""
    image_space: str
    """Raw space of its images; empty when it holds none."""
    text_space: str
    """Raw space of its texts; empty when it holds none."""
    image_dimension: int
    """Dimension of the image space."""
    text_dimension: int
    """Dimension of the text space."""
    aligner: str
    """The active aligner, `aligner_id@revision`; empty when there is none."""
    store_thumbnails: bool
    """True when items may carry thumbnails."""
    revision: int
    """Counter of applied mutations."""
    image_count: int
    """Live images."""
    text_count: int
    """Live texts."""
    guard: GuardLimits
    """What an aligner may cost it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligner:
    """An aligner, without its tensors."""

    aligner: str
    """`aligner_id@revision`: also the name of its aligned space."""
    method: str
    """identity, center or heads."""
    image_space: str
    """Raw space of the images it accepts."""
    text_space: str
    """Raw space of the texts it accepts."""
    dimension: int
    """Dimension of the aligned space."""
    manifest_json: str
    """Its manifest: provenance, figures, calibration."""
    notice: str
    """What a person must know before using it, for example its licence; empty for most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """A step of a fit."""

    progress: float
    """Share of the work that is done, in [0, 1]."""
    stage: str
    """reading, fitting, saving or done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAt:
    """Shares of queries, in [0, 1], with an answer among the first 1, 5 and 10."""

    r1: float
    """Recall at 1."""
    r5: float
    """Recall at 5."""
    r10: float
    """Recall at 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedRetrieval:
    """Retrieval over images and texts together, every figure in [0, 1]."""

    r1: float
    """Share of queries with a counterpart ranked first, own-modality siblings left out."""
    r10: float
    """The same within the first 10."""
    r20: float
    """The same within the first 20."""
    ndcg10: float
    """nDCG at 10; every other item of the same pair key is relevant."""
    own_share: float
    """Share of the query's own modality in the first 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What an evaluation of a collection's pairs found."""

    pairs: int
    """Distinct pair keys."""
    image_queries: int
    """Image queries."""
    text_queries: int
    """Text queries."""
    t2i: RecallAt
    """Text query, image answers."""
    i2t: RecallAt
    """Image query, text answers."""
    mixed_image_query: MixedRetrieval
    """Image query, answers of both modalities."""
    mixed_text_query: MixedRetrieval
    """Text query, answers of both modalities."""
    aligner: str
    """The aligner that was used; empty when there was none."""
    revision: int
    """Revision of the collection."""
    through_search: bool
    """True when every query went through search, False when similarities were computed exactly."""
    calibration: Calibration
    """How scores of the two modalities were made comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapReport:
    """What a measurement of the gap found."""

    pairs: int
    """Pair keys with items of both modalities that were looked at."""
    image_count: int
    """Images that were looked at."""
    text_count: int
    """Texts that were looked at."""
    sample_count: int
    """Pairs that the costlier measures looked at."""
    seed: int
    """Seed of every sample, split and bootstrap."""
    share: float
    """Share of the pair keys that was looked at, in (0, 1]; 1 means all of them."""
    gap: Mapping[str, float | None]
    """One number a measure; None where it could not be taken."""
    report_json: str
    """Everything: intervals, noise floors, counts, and why a measure was not taken."""
    aligner: str
    """The aligner in whose space it was measured; empty for the raw space."""
    revision: int
    """Revision of the collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What a collection's held-out pairs say of an aligner."""

    method: str
    """How it maps."""
    aligner: str
    """`aligner_id@revision`; empty for one that was fitted for a comparison and is not kept."""
    pairs: int
    """Held-out pair keys that it was judged on."""
    guard_ok: bool
    """True when it costs no more than the collection's guard allows."""
    guard_reasons: tuple[str, ...]
    """Why it does not, with figures."""
    ece: float | None
    """Expected calibration error of the best answers; None without a fitted calibration."""
    report_json: str
    """Everything, before and after: `before`, `after`, `guard` and `calibration`."""
    revision: int
    """Revision of the collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several methods on one split of a collection's pairs."""

    reports: tuple[VerificationReport, ...]
    """Of the methods that could be fitted."""
    refused: Mapping[str, str]
    """Why the others could not, by method."""
    best: str
    """The method of the highest nDCG@10 over both modalities among those that keep the guard; empty for none."""
    revision: int
    """Revision of the collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderStatus:
    """An encoder behind the gateway."""

    space: str
    """`encoder_id@revision`; empty while it does not answer."""
    modality: Modality
    """What it encodes."""
    dimension: int
    """Components of its embeddings."""
    compute_type: str
    """Numeric type of its forward pass."""
    device: str
    """Where it runs."""
    encoded_items: int
    """Items that went through its forward pass since it started."""
    forward_calls: int
    """Forward passes since it started."""
    serving: bool
    """True when it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatus:
    """The embedding cache."""

    backend: str
    """What stands behind the in-process cache: redis, or none."""
    serving: bool
    """True when the backend answers."""
    local_hits: int
    """Inputs found in the in-process cache."""
    backend_hits: int
    """Inputs found in the backend."""
    misses: int
    """Inputs found in neither."""
    refused: int
    """Stored values that were refused as damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the mesh is made of and how it is."""

    version: str
    """Version of the gateway."""
    encoders: tuple[EncoderStatus, ...]
    """The encoders."""
    cache: CacheStatus
    """The embedding cache."""
    index_writer_serving: bool
    """True when the index writer answers."""
    index_search_serving: bool
    """True when the index searcher answers."""
    alignment_serving: bool
    """True when the alignment service answers."""
    default_aligner: str
    """The aligner new collections start with; empty when there is none."""
    notices: tuple[str, ...]
    """Things a person should know, for example the licence of a shipped aligner."""
