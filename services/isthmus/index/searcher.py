"""Answers reads from immutable snapshots that follow the store."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.matching import MatchTerms
from isthmus.core.modality import Modality
from isthmus.index.aliases import Comparison
from isthmus.index.arranger import Arranger
from isthmus.index.backup_stream import BackupStreams
from isthmus.index.cache.keeper import Caches
from isthmus.index.checks import check_top_k
from isthmus.index.comparing import Side, compare
from isthmus.index.config import IndexConfig
from isthmus.index.examples import ExampleVectors
from isthmus.index.following import Following
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    Followed,
    ItemReader,
    ItemView,
    NotesWanted,
    SearchResult,
)
from isthmus.index.news import NewsSource
from isthmus.index.order import check_order, order_digest
from isthmus.index.pair_matching import PairsResult, PairVectors, match_snapshot
from isthmus.index.pair_rows import PairSampling, list_followed, sampled_row_ids
from isthmus.index.part_answers import PartAnswer
from isthmus.index.probe.figures import RecallFigure
from isthmus.index.probe.prober import Prober
from isthmus.index.ranking import Question, search_examples, search_keywords, search_snapshot
from isthmus.index.reading import read_rows
from isthmus.index.roster import Roster
from isthmus.index.search_pool import SearchPool
from isthmus.index.shadow import Shadows
from isthmus.index.shadow_tally import ShadowReport
from isthmus.index.snapshot import Snapshot
from isthmus.index.stored_rows import fill_embeddings, take_rows
from isthmus.index.structure_state import StructureReport
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from isthmus.runtime.base.filters import Filter
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, LABELS_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_count

__all__ = ["SearcherEngine"]

T = TypeVar("T")


class SearcherEngine:
    """Answers from memory; follows the store by itself and when a read asks for a newer revision.

    Args:
        config: Of the process.
        news: Where the writer is heard; None follows the store by itself alone.
    """

    def __init__(self, config: IndexConfig, *, news: NewsSource | None = None) -> None:
        self._pool = SearchPool(threads=config.search_threads, queue_count=config.search_queue_count)
        self._shadows = Shadows(config)
        self._caches = Caches(config)
        self._arranger = Arranger(config)
        self._prober = Prober(config, is_quiet=lambda: self._pool.idle_threads == config.search_threads)
        self._backups = BackupStreams()
        self._following = Following(config, tend=self._tend, news=news, recall=self._caches.recall)

    async def start(self) -> None:
        """Load every collection, then keep following them."""
        await self._following.start()

    async def close(self) -> None:
        """Stop following; let what runs end."""
        await self._following.close()
        await self._shadows.close()
        await self._arranger.close()
        await self._prober.close()
        await self._caches.close()
        self._pool.close()

    async def resolve(
        self, tenant: str, name: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> tuple[str, int]:
        """Return the collection that a name stands for, and the least revision of it; see `Following.resolve`."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        return await self._following.resolve(tenant, name, min_revision=min_revision, deadline_s=deadline_s)

    async def backup(
        self, tenant: str, collection: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> AsyncGenerator[tuple[str, bytes], None]:
        """Copy a collection at one revision and stream it; see `BackupStreams.stream`.

        Raises:
            IsthmusError: as `get_items`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        return self._backups.stream(follower, snapshot)

    async def compare(
        self,
        tenant: str,
        collections: tuple[str, str],
        *,
        min_revisions: tuple[int, int],
        seed: int,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Ask an old and a new collection the same questions; see `comparing.compare`.

        Raises:
            IsthmusError: as `search`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        sides = []
        for name, min_revision in zip(collections, min_revisions, strict=True):
            follower = await self._following.follower(tenant, name)
            sides.append(Side(follower, await self._following.at_least(follower, min_revision, deadline_s)))
        return await self._pool.run(partial(compare, *sides, seed=seed), deadline_s=deadline_s)

    async def forget_erased(
        self, tenant: str, collection: str, *, min_revision: int, timeout_s: float | None = None
    ) -> bool:
        """Remove the cache files of a collection; what is not erased is written anew in time.

        Args:
            tenant: Whose collection it is.
            collection: Its name.
            min_revision: At which the erased items are gone.
            timeout_s: Time the caller has left; None means for ever.

        Returns:
            False when the files are another process's.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._following.follower(tenant, collection)
        await self._following.at_least(follower, min_revision, deadline_s)
        return await self._caches.forget(tenant, follower.entry.uuid)

    async def search(
        self,
        tenant: str,
        collection: str,
        *,
        modality: Modality,
        space: str,
        queries: NDArray[np.float32],
        top_k: int,
        item_modality: Modality | None = None,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
        own_ids: Sequence[str] = (),
        basic: bool = False,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the nearest items of each query.

        Args:
            tenant: Whose collection it is.
            collection: Its name.
            modality: Of the queries.
            space: Their raw space; must be the collection's.
            queries: (n, d) float32 raw embeddings, n at most 256.
            top_k: Neighbours a query, 1 to 1,000.
            item_modality: Of the answers; None means any, merged by calibrated score.
            where: What must hold of the answers; None means nothing.
            terms: What answers are made of; None means whatever is nearest.
            own_ids: Of each query the item that it is, which is no answer to it, or empty; none means that no query is.
            basic: Tell of the answers' items only id, modality and pair key.
            min_revision: Answer from at least this revision.
            timeout_s: Time the caller has left; None means for ever.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: SPACE_MISMATCH, NO_ALIGNER; CURSOR_EXPIRED, the order is another than expected.
            InvalidArgumentError: INVALID_VECTOR, INVALID_FIELD.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            ResourceExhaustedError: BATCH_TOO_LARGE, LIMIT_EXCEEDED, OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        check_count(range(len(queries)), field="queries", limit=EMBED_MAX_COUNT)
        if len(own_ids) not in (0, len(queries)):
            msg = f"own_ids holds {len(own_ids)} ids for {len(queries)} queries"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "own_ids"})
        check_top_k(top_k)
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        order = order_digest(follower.entry.uuid, snapshot)
        check_order(terms.expected_order if terms else b"", order)
        question = Question(
            modality=modality,
            space=space,
            top_k=top_k,
            item_modality=item_modality,
            where=where,
            terms=terms,
            basic=basic,
        )
        ask = partial(search_snapshot, snapshot, queries, replace(question, own_ids=tuple(own_ids)))
        found = await self._pool.run(ask, deadline_s=deadline_s)
        if terms is None or not terms.offset:
            # Aligners are compared by what they change: the answers of vectors.
            compared = question if terms is None else replace(question, terms=replace(terms, keywords=""))
            self._shadows.offer(follower, queries, compared, is_idle=self._pool.idle_threads > 0)
            self._prober.offer(follower, queries, compared)
        return replace(found, order=order)

    async def search_examples(
        self,
        tenant: str,
        collection: str,
        *,
        examples: Sequence[ExampleVectors],
        top_k: int,
        item_modality: Modality | None = None,
        where: Filter | None = None,
        terms: AnswerTerms | None = None,
        basic: bool = False,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the nearest items of one query that is made of examples; arguments and errors as of `search`.

        Without examples the words of `terms.keywords` are the query.

        Raises:
            FailedPreconditionError: NO_ALIGNER, where examples and answers are of two modalities; KEYWORDS_DISABLED.
            InvalidArgumentError: INVALID_FIELD, the examples cancel one another.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        check_top_k(top_k)
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        order = order_digest(follower.entry.uuid, snapshot)
        check_order(terms.expected_order if terms else b"", order)
        rank = partial(search_examples, snapshot, examples) if examples else partial(search_keywords, snapshot)
        ask = partial(
            rank,
            top_k=top_k,
            item_modality=item_modality,
            where=where,
            terms=terms or AnswerTerms(),
            basic=basic,
        )
        return replace(await self._pool.run(ask, deadline_s=deadline_s), order=order)

    async def ask_part(
        self,
        tenant: str,
        collection: str,
        work: Callable[[Snapshot], T],
        *,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> PartAnswer[T]:
        """Return what `work` makes of this searcher's part of a collection, in a search thread, and what fixes it.

        Raises:
            IsthmusError: as `search`, and what `work` raises.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        found = await self._pool.run(partial(work, snapshot), deadline_s=deadline_s)
        uid = follower.entry.uuid
        return PartAnswer(found, uid=uid, revision=snapshot.revision, order=order_digest(uid, snapshot))

    async def match_pairs(
        self,
        tenant: str,
        collection: str,
        vectors: Mapping[Modality, Sequence[PairVectors]],
        *,
        terms: MatchTerms,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> PairsResult:
        """Judge pairs of raw vectors by a collection's aligner and calibration.

        Raises:
            IsthmusError: as `search` and `match_snapshot`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        snapshot = await self._following.at_least(
            await self._following.follower(tenant, collection), min_revision, deadline_s
        )
        return await self._pool.run(partial(match_snapshot, snapshot, vectors, terms), deadline_s=deadline_s)

    async def shadow_report(
        self, tenant: str, collection: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> ShadowReport:
        """Return what the collection's shadow aligner would have changed, as far as this searcher has compared.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        follower = await self._following.follower(tenant, collection)
        await self._following.at_least(
            follower, min_revision, None if timeout_s is None else time.monotonic() + timeout_s
        )
        return self._shadows.report(follower)

    async def structure_reports(
        self, tenant: str, collection: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> dict[Modality, StructureReport]:
        """Return what this searcher's structures of a collection are, for each modality that it takes.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED within the deadline; NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        snapshot = await self._following.at_least(
            await self._following.follower(tenant, collection), min_revision, deadline_s
        )
        none = StructureReport()
        return {modality: snapshot.structures.get(modality, none) for modality in snapshot.settings.modalities}

    async def recall_figures(self, tenant: str, collection: str) -> tuple[RecallFigure, ...]:
        """Return what was measured in the background of what this searcher's answers find.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
        """
        return self._prober.figures(await self._following.follower(tenant, collection))

    async def get_items(
        self,
        tenant: str,
        collection: str,
        *,
        ids: Sequence[str],
        include_embeddings: bool = False,
        include_thumbnails: bool = False,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> tuple[int, tuple[ItemView, ...]]:
        """Return the revision, and the items that are there, in the order asked.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            FailedPreconditionError: THUMBNAILS_DISABLED.
            InvalidArgumentError: EMPTY_INPUT.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            ResourceExhaustedError: BATCH_TOO_LARGE, OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        check_count(ids, field="ids", limit=UPSERT_MAX_COUNT)
        follower = await self._following.follower(tenant, collection)
        if include_thumbnails and not follower.entry.settings.store_thumbnails:
            msg = "the collection does not store thumbnails"
            raise FailedPreconditionError(msg, reason="THUMBNAILS_DISABLED")
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)

        def read() -> tuple[ItemView, ...]:
            """Blocks; runs in a search thread."""
            places = [place for place in snapshot.find(ids) if place is not None]
            items = [snapshot.item(place.segment, place.row) for place in places]
            if not items or not (include_embeddings or include_thumbnails):
                return tuple(items)
            row_ids = np.array([place.segment.row_ids[place.row] for place in places])
            rows = take_rows(follower, snapshot, row_ids, thumbnails=include_thumbnails)
            if include_embeddings:
                fill_embeddings(items, rows["embedding"], snapshot)
            if include_thumbnails:
                thumbnails = rows["thumbnail"].to_pylist()
                items = [replace(item, thumbnail=data) for item, data in zip(items, thumbnails, strict=True)]
            return tuple(items)

        return snapshot.revision, await self._pool.run(read, deadline_s=deadline_s)

    async def read_items(
        self,
        tenant: str,
        collection: str,
        *,
        paired_only: bool = False,
        notes: NotesWanted | None = None,
        sample: PairSampling | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> ItemReader:
        """Pin a collection at one revision and read its items with their raw embeddings, images first.

        Args:
            tenant: Whose collection it is.
            collection: Its name.
            paired_only: Leave out items without a pair key.
            notes: What to say of items beside; None for nothing.
            sample: Read so many pairs only; None reads everything.
            min_revision: Read at least this revision.
            timeout_s: Time the caller has left; None means for ever.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        aligner = None if snapshot.aligner is None else AlignerFiles(*snapshot.aligner.artefact.to_bytes())
        chosen: Callable[[Modality], NDArray[np.int64]] = partial(snapshot.live_row_ids, paired_only=paired_only)
        if sample is not None:
            sampled = await self._pool.run(partial(sampled_row_ids, snapshot, sample), deadline_s=deadline_s)
            chosen = sampled.__getitem__
        batches = read_rows(follower, snapshot, chosen, notes=notes or NotesWanted(), pool=self._pool)
        return ItemReader(snapshot.info(), aligner, batches)

    async def list_followed(self, known: Mapping[tuple[str, str], int]) -> tuple[Followed, ...]:
        """Return the collections of every tenant that are loaded, by tenant and name.

        Args:
            known: Revisions that the caller knows, by tenant and name.

        Raises:
            ResourceExhaustedError: OVERLOADED.
        """
        return await list_followed(self._following.roster, known, pool=self._pool)

    async def offload(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; it runs in a search thread, so that the event loop stays free.

        Raises:
            ResourceExhaustedError: OVERLOADED.
        """
        return await self._pool.run(work)

    async def list_values(
        self, tenant: str, collection: str, *, attribute: str, min_revision: int = 0, timeout_s: float | None = None
    ) -> tuple[CollectionInfo, list[str]]:
        """Return a collection and the different values that its items have of an attribute, as text, sorted.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            UnavailableError: REVISION_NOT_REACHED, NOT_READY.
            ResourceExhaustedError: LIMIT_EXCEEDED, more than 256 different values; OVERLOADED.
            DataLossError: STORE_DAMAGED.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        follower = await self._following.follower(tenant, collection)
        snapshot = await self._following.at_least(follower, min_revision, deadline_s)
        values = await self._pool.run(partial(snapshot.attribute_values, attribute), deadline_s=deadline_s)
        if len(values) > LABELS_MAX_COUNT:
            msg = f"the attribute has {len(values)} different values; the limit is {LABELS_MAX_COUNT}"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "attribute", "limit": str(LABELS_MAX_COUNT)}
            )
        return snapshot.info(), sorted(values)

    def _tend(self, roster: Roster) -> None:
        self._shadows.tend(roster)
        self._arranger.tend(roster)
        self._prober.tend(roster)
        self._caches.tend(roster)
