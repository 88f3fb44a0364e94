"""The gateway's engine: what one call needs of many services. Knows no gRPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.core.modality import Modality
from isthmus.gateway.batch_search import BatchSeeker
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.collections import CollectionKeeper
from isthmus.gateway.domain import Content, Row, Stages
from isthmus.gateway.embedder import Embedded, Embedder
from isthmus.gateway.encode_lane import EncodeLimits
from isthmus.gateway.evaluate import EvaluateLimits, Evaluator
from isthmus.gateway.gather import gather_all
from isthmus.gateway.labels import Labeller
from isthmus.gateway.offload import Offload
from isthmus.gateway.pair_matching import Matcher
from isthmus.gateway.ports import AlignmentPort, EncoderPort, SearchPort, WriterPort
from isthmus.gateway.search import Seeker
from isthmus.gateway.upsert import Upserter
from isthmus.runtime.base.errors import IsthmusError

__all__ = ["EmbedAnswer", "GatewayEngine", "SpacedRows", "UpsertLimits"]


@dataclass(frozen=True, slots=True)
class SpacedRows:
    """Embeddings of one modality.

    Attributes:
        space: Their space.
        data: The rows in one buffer: little-endian float16 when raw, float32 when aligned.
        dimension: Components of a row.
        aligned: Whether they are aligned.
        positions: Row i belongs to the content at `positions[i]` of the request.
    """

    space: str
    data: bytes
    dimension: int
    aligned: bool
    positions: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAnswer:
    """Embeddings of a mixed batch.

    Attributes:
        batches: By modality; absent where no row was made.
        errors: What could not be embedded, by position.
        truncated: Positions of texts that were cut.
        stages: Where the time went.
    """

    batches: Mapping[Modality, SpacedRows]
    errors: dict[int, IsthmusError]
    truncated: Sequence[int]
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertLimits:
    """Bounds of upserting.

    Attributes:
        window: Requests of one stream in work at once.
        slots: Requests of all streams in work at once.
    """

    window: int
    slots: int


class GatewayEngine:
    """Everything the gateway does, over the ports of the services behind it.

    Attributes:
        embedder: Makes embeddings.
        seeker: Searches.
        batch_seeker: Searches many queries at once.
        matcher: Judges pairs.
        upserter: Stores items.
        keeper: Creates collections, promotes aligners.
        evaluator: Judges retrieval through search.
        labeller: Embeds the values of an attribute.
        cache: The embedding cache.

    Args:
        encoders: By modality.
        writer: The index writer.
        searcher: The index searcher.
        alignment: The alignment service.
        cache: The embedding cache.
        encode_limits: Bounds of the queues in front of the encoders.
        upsert_limits: Bounds of upserting.
        evaluate_limits: Bounds of evaluating through search.
        offload: Threads for what is too heavy for the event loop.
        default_aligner: Aligner of new collections; empty means none.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[Modality, EncoderPort],
        writer: WriterPort,
        searcher: SearchPort,
        alignment: AlignmentPort,
        cache: EmbeddingCache,
        encode_limits: EncodeLimits,
        upsert_limits: UpsertLimits,
        evaluate_limits: EvaluateLimits,
        offload: Offload,
        default_aligner: str,
    ) -> None:
        self.cache = cache
        self.embedder = Embedder(encoders, cache=cache, limits=encode_limits)
        self.seeker = Seeker(searcher=searcher, embedder=self.embedder, cache=cache)
        self.batch_seeker = BatchSeeker(seeker=self.seeker, searcher=searcher, cache=cache)
        self.matcher = Matcher(searcher=searcher, embedder=self.embedder)
        self.upserter = Upserter(
            writer=writer,
            searcher=searcher,
            embedder=self.embedder,
            window=upsert_limits.window,
            slots=upsert_limits.slots,
        )
        self.keeper = CollectionKeeper(
            writer=writer, alignment=alignment, embedder=self.embedder, default_aligner=default_aligner
        )
        self.evaluator = Evaluator(searcher=searcher, offload=offload, limits=evaluate_limits)
        self.labeller = Labeller(searcher=searcher, embedder=self.embedder)
        self._alignment = alignment

    async def close(self) -> None:
        """Call off what is being done, let go of the cache."""
        await self.embedder.close()
        await self.cache.close()

    async def embed(
        self, contents: Sequence[Content | IsthmusError], *, refuse_long: bool, aligner: str = ""
    ) -> EmbedAnswer:
        """Embed a mixed batch.

        Args:
            contents: Contents, or what is wrong with each.
            refuse_long: Refuse texts that do not fit the encoder's context.
            aligner: Answer in this aligner's space; empty means raw.

        Raises:
            IsthmusError: an encoder or the alignment service as a whole.
        """
        errors: dict[int, IsthmusError] = {}
        groups: dict[Modality, list[int]] = {}
        for position, content in enumerate(contents):
            if isinstance(content, IsthmusError):
                errors[position] = content
            else:
                groups.setdefault(content.modality, []).append(position)
        parts = await gather_all(
            [
                self._embed_group(modality, [contents[position] for position in positions], refuse_long=refuse_long)
                for modality, positions in groups.items()
            ]
        )
        stages = Stages()
        batches: dict[Modality, SpacedRows] = {}
        truncated: list[int] = []
        for (modality, positions), embedded in zip(groups.items(), parts, strict=True):
            stages.add(embedded.stages)
            rows: list[Row] = []
            whole: list[int] = []
            for position, row in zip(positions, embedded.rows, strict=True):
                if isinstance(row, IsthmusError):
                    errors[position] = row
                    continue
                rows.append(row)
                whole.append(position)
                if row.truncated:
                    truncated.append(position)
            if rows:
                batches[modality] = await self._spaced(modality, embedded, rows, whole, aligner, stages)
        return EmbedAnswer(batches=batches, errors=errors, truncated=truncated, stages=stages)

    async def _embed_group(
        self, modality: Modality, contents: Sequence[Content | IsthmusError], *, refuse_long: bool
    ) -> Embedded:
        checked = [content for content in contents if isinstance(content, Content)]
        return await self.embedder.embed(modality, checked, refuse_long=refuse_long)

    async def _spaced(
        self,
        modality: Modality,
        embedded: Embedded,
        rows: Sequence[Row],
        positions: Sequence[int],
        aligner: str,
        stages: Stages,
    ) -> SpacedRows:
        encoder = embedded.encoder
        if not aligner:
            # One row is sent as it lies in the cache, without a copy.
            data = rows[0].data if len(rows) == 1 else b"".join([row.data for row in rows])
            return SpacedRows(encoder.space, data, encoder.dimension, False, positions)
        started_s = time.monotonic()
        mapped = await self._alignment.align(aligner, rows, modality=modality, space=encoder.space)
        stages.align_micros += int((time.monotonic() - started_s) * 1e6)
        return SpacedRows(mapped.space, mapped.data, mapped.dimension, True, positions)
