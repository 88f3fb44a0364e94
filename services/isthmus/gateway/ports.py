"""What the engine asks of the services behind the gateway. `backends` answers over gRPC, tests answer in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.gateway.domain import (
    AlignedRows,
    AlignerFiles,
    AlignerInfo,
    Collection,
    Content,
    EncodedBatch,
    EncoderInfo,
    Found,
    JudgedPairs,
    PairedItems,
    PairRows,
    Row,
    StoredDigest,
    StoredVector,
    UpsertDraft,
    UpsertReceipt,
)
from isthmus.gateway.example_rows import ExampleRows
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.filters import Filter

__all__ = ["AlignmentPort", "EncoderPort", "SearchPort", "WriterPort"]


class EncoderPort(Protocol):
    """An encoder of one modality."""

    async def describe(self) -> EncoderInfo:
        """Say which encoder this is."""
        ...

    async def encode(self, contents: Sequence[Content]) -> EncodedBatch:
        """Encode up to 256 contents; a bad one is reported in its place."""
        ...


class WriterPort(Protocol):
    """The index writer."""

    async def get_collection(self, name: str) -> Collection:
        """Return one collection."""
        ...

    async def look_up(self, collection: str, ids: Sequence[str]) -> tuple[list[StoredDigest | None], int]:
        """Return what is stored under `ids` (None where nothing is), and the revision this was read at."""
        ...

    async def upsert(self, collection: Collection, drafts: Sequence[UpsertDraft], *, request_id: str) -> UpsertReceipt:
        """Store items; they are durable when this returns."""
        ...

    async def create_collection(
        self, collection: Collection, *, aligner: AlignerFiles | None, request_id: str
    ) -> Collection:
        """Create a collection with the name, spaces, dimensions and settings of `collection`."""
        ...

    async def set_aligner(
        self,
        collection: str,
        aligner: AlignerFiles,
        *,
        allow_unverified: bool,
        override_reason: str,
        request_id: str,
    ) -> Collection:
        """Make an aligner the active one."""
        ...


class SearchPort(Protocol):
    """The index searcher."""

    async def search(
        self,
        collection: str,
        rows: Sequence[Row],
        *,
        modality: Modality,
        space: str,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
        own_ids: Sequence[str] = (),
        basic: bool = False,
    ) -> Found:
        """Search up to 256 queries of one modality, among the items that `where` holds for, for what `terms` say.

        Args:
            collection: Where.
            rows: The queries.
            modality: What they are made of.
            space: Their raw space.
            top_k: Neighbours wanted of each.
            item_modality: Of the answers; None means any.
            min_revision: Answer from at least this revision.
            where: What must hold of the answers' attributes.
            terms: What answers are made of.
            own_ids: Of each query the item that it is, which is no answer to it, or empty; none where no query is one.
            basic: Tell of the answers' items only id, modality and pair key.
        """
        ...

    async def search_examples(
        self,
        collection: str,
        examples: Sequence[ExampleRows],
        *,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
    ) -> Found:
        """Search one query that is made of up to 64 examples; as `search`."""
        ...

    async def search_keywords(
        self,
        collection: str,
        *,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None = None,
        terms: AnswerTerms,
    ) -> Found:
        """Search by the words of `terms` alone; as `search`."""
        ...

    async def get_vectors(
        self, collection: str, ids: Sequence[str], *, min_revision: int
    ) -> tuple[dict[str, StoredVector], int]:
        """Return the embeddings of the items that are there, by id, and the revision."""
        ...

    async def match_pairs(
        self,
        collection: str,
        rows: Mapping[Modality, Sequence[PairRows]],
        *,
        terms: MatchTerms,
        min_revision: int,
    ) -> JudgedPairs:
        """Judge up to 256 pairs."""
        ...

    async def list_values(
        self, collection: str, attribute: str, *, min_revision: int
    ) -> tuple[Collection, Sequence[str]]:
        """Return a collection and the different values of an attribute as text, at most 256."""
        ...

    def read_pairs(self, collection: str, *, min_revision: int) -> AsyncIterator[Collection | PairedItems]:
        """Stream the collection at a pinned revision, then every item with a pair key."""
        ...


class AlignmentPort(Protocol):
    """The alignment service."""

    async def get_aligner(self, aligner: str) -> tuple[AlignerInfo, AlignerFiles]:
        """Return an aligner, described and with its tensors."""
        ...

    async def align(self, aligner: str, rows: Sequence[Row], *, modality: Modality, space: str) -> AlignedRows:
        """Map rows to the aligned space."""
        ...
