"""The index writer, the searcher and the alignment service in memory, to be slowed down and broken at will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.gateway.domain import (
    AlignedRows,
    AlignerFiles,
    AlignerInfo,
    Collection,
    Found,
    JudgedPairs,
    Neighbor,
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
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import IsthmusError, NotFoundError
from isthmus.runtime.base.filters import Filter

__all__ = ["MemoryAlignment", "MemorySearcher", "MemoryWriter"]


class MemoryWriter:
    """Keeps drafts by collection and id.

    Attributes:
        collections: By name.
        items: By collection and id.
        log: What was asked of it, in order.
        commit_s: How long a commit takes.
        failures: Raised by the next commits, one each.
    """

    def __init__(self, *collections: Collection) -> None:
        self.collections = {collection.name: collection for collection in collections}
        self.items: dict[tuple[str, str], UpsertDraft] = {}
        self.revision = 0
        self.log: list[str] = []
        self.commit_s = 0.0
        self.failures: list[IsthmusError] = []
        self.refused: dict[str, IsthmusError] = {}
        self.aligners: list[AlignerFiles | None] = []

    async def get_collection(self, name: str) -> Collection:
        """Return one collection."""
        if name not in self.collections:
            msg = "no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        return self.collections[name]

    async def look_up(self, collection: str, ids: Sequence[str]) -> tuple[list[StoredDigest | None], int]:
        """Return what is stored under `ids`."""
        self.log.append(f"look up {','.join(ids)}")
        return [self._digest(collection, item_id) for item_id in ids], self.revision

    def _digest(self, collection: str, item_id: str) -> StoredDigest | None:
        draft = self.items.get((collection, item_id))
        if draft is None:
            return None
        metadata = metadata_digest(
            draft.modality.value,
            attributes=draft.attributes,
            pair_key=draft.pair_key,
            thumbnail=draft.thumbnail,
            content_words=draft.content_words,
        )
        return StoredDigest(draft.content_digest, self.collections[collection].space(draft.modality), metadata)

    async def upsert(self, collection: Collection, drafts: Sequence[UpsertDraft], *, request_id: str) -> UpsertReceipt:
        """Store drafts."""
        await asyncio.sleep(self.commit_s)
        if self.failures:
            raise self.failures.pop(0)
        self.log.append(f"commit {request_id}")
        self.revision += 1
        errors = {
            index: self.refused[draft.item_id] for index, draft in enumerate(drafts) if draft.item_id in self.refused
        }
        fresh = 0
        for index, draft in enumerate(drafts):
            if index not in errors:
                fresh += (collection.name, draft.item_id) not in self.items
                self.items[collection.name, draft.item_id] = draft
        return UpsertReceipt(self.revision, fresh, len(drafts) - len(errors) - fresh, 0, errors)

    async def create_collection(
        self, collection: Collection, *, aligner: AlignerFiles | None, request_id: str
    ) -> Collection:
        """Create a collection."""
        self.log.append(f"create {request_id}")
        self.collections[collection.name] = collection
        self.aligners.append(aligner)
        return collection

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
        self.log.append(f"set aligner {request_id} {allow_unverified} {override_reason}")
        self.aligners.append(aligner)
        return self.collections[collection]


class MemorySearcher:
    """Answers from a writer's items, exactly.

    Args:
        writer: Whose items.

    Attributes:
        failures: Raised by the next calls, one each.
        failures_of: Raised by every search in a space.
        calls: What it was asked.
    """

    def __init__(self, writer: MemoryWriter) -> None:
        self._writer = writer
        self.failures: list[IsthmusError] = []
        self.failures_of: dict[str, IsthmusError] = {}
        self.calls: list[str] = []
        self.wanted: list[tuple[int, int]] = []
        self.filters: list[Filter | None] = []
        self.terms: list[AnswerTerms] = []
        self.batches: list[tuple[int, tuple[str, ...], bool]] = []
        self.pairs: list[PairedItems] = []

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
        """Return all items but the excluded ones in the order of their ids, whatever is asked of their attributes."""
        self.calls.append(f"search {modality.value} {space} {item_modality}")
        self.batches.append((len(rows), tuple(own_ids), basic))
        if space in self.failures_of:
            raise self.failures_of[space]
        return self._answer(collection, len(rows), modality, space, top_k, item_modality, min_revision, where, terms)

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
        """As `search`."""
        told = " ".join(f"{each.modality.value} {each.space} {list(each.weights)}" for each in examples)
        self.calls.append(f"examples {told} {item_modality}")
        first = examples[0]
        return self._answer(
            collection, 1, first.modality, first.space, top_k, item_modality, min_revision, where, terms
        )

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
        """As `search`, for a query without a vector."""
        self.calls.append(f"keywords {item_modality}")
        return self._answer(collection, 1, Modality.TEXT, "", top_k, item_modality, min_revision, where, terms)

    def _answer(
        self,
        collection: str,
        count: int,
        modality: Modality,
        space: str,
        top_k: int,
        item_modality: Modality | None,
        min_revision: int,
        where: Filter | None,
        terms: AnswerTerms | None,
    ) -> Found:
        self.filters.append(where)
        self.terms.append(terms or AnswerTerms())
        self.wanted.append((top_k, min_revision))
        if self.failures:
            raise self.failures.pop(0)
        ids = sorted(item_id for name, item_id in self._writer.items if name == collection)
        ids = [item_id for item_id in ids if item_id not in self.terms[-1].exclude_ids]
        neighbors = [
            Neighbor(item_id, item_modality or modality, 1.0 - place / 100, 0.0, item_id)
            for place, item_id in enumerate(ids)
        ]
        return Found(
            neighbors=[neighbors[:top_k]] * count,
            revision=self._writer.revision,
            space=space,
            calibration=0,
            align_micros=1,
            search_micros=2,
        )

    async def get_vectors(
        self, collection: str, ids: Sequence[str], *, min_revision: int
    ) -> tuple[dict[str, StoredVector], int]:
        """Return stored embeddings."""
        self.calls.append(f"vectors {','.join(ids)} {min_revision}")
        if self.failures:
            raise self.failures.pop(0)
        drafts = {item_id: self._writer.items.get((collection, item_id)) for item_id in ids}
        space = self._writer.collections[collection].space
        return {
            item_id: StoredVector(draft.modality, space(draft.modality), draft.row, draft.content_digest)
            for item_id, draft in drafts.items()
            if draft is not None
        }, self._writer.revision

    async def match_pairs(
        self,
        collection: str,
        rows: Mapping[Modality, Sequence[PairRows]],
        *,
        terms: MatchTerms,
        min_revision: int,
    ) -> JudgedPairs:
        """Return the positions of the pairs that were sent, in order."""
        self.calls.append(f"match {collection} {terms.false_accept_rate} {min_revision}")
        if self.failures:
            raise self.failures.pop(0)
        sent = {m: sorted(position for batch in rows[m] for position in batch.pairs) for m in Modality}
        assert sent[Modality.IMAGE] == sent[Modality.TEXT]
        return JudgedPairs(
            records=sent[Modality.IMAGE],
            errors={},
            accept_above=1.0,
            refuse_below=0.0,
            aligner="",
            calibration=1,
            space="",
            revision=self._writer.revision,
            align_micros=1,
        )

    async def list_values(
        self, collection: str, attribute: str, *, min_revision: int
    ) -> tuple[Collection, Sequence[str]]:
        """Return the collection and the values of an attribute."""
        del min_revision
        drafts = (draft for (name, _), draft in self._writer.items.items() if name == collection)
        values = {str(draft.attributes[attribute]) for draft in drafts if attribute in draft.attributes}
        return await self._writer.get_collection(collection), sorted(values)

    async def read_pairs(self, collection: str, *, min_revision: int) -> AsyncIterator[Collection | PairedItems]:
        """Stream what the test has laid out."""
        self.calls.append(f"pairs {collection} {min_revision}")
        yield self._writer.collections[collection]
        for part in self.pairs:
            yield part


class MemoryAlignment:
    """Keeps aligners by name."""

    def __init__(self, *aligners: AlignerInfo) -> None:
        self.aligners = {info.aligner.partition("@")[0]: info for info in aligners}
        self.asked: list[str] = []

    async def get_aligner(self, aligner: str) -> tuple[AlignerInfo, AlignerFiles]:
        """Return an aligner."""
        self.asked.append(aligner)
        if aligner not in self.aligners:
            msg = "no such aligner"
            raise NotFoundError(msg, reason="ALIGNER_NOT_FOUND")
        return self.aligners[aligner], AlignerFiles(aligner.encode(), b"tensors")

    async def align(self, aligner: str, rows: Sequence[Row], *, modality: Modality, space: str) -> AlignedRows:
        """Return zeros."""
        self.asked.append(f"{aligner} {modality.value} {space}")
        return AlignedRows(f"{aligner}@1", bytes(4 * len(rows)), 1)
