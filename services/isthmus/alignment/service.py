"""`isthmus.v1.AlignmentService`: the wire to the engine and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import numpy as np
from numpy.typing import NDArray

from isthmus.alignment.asking import asked_of
from isthmus.alignment.audit_reports import audit_messages
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.engine import AlignmentEngine
from isthmus.alignment.link_messages import link_messages, link_terms
from isthmus.alignment.measuring import MeasureRequest
from isthmus.alignment.ports import CollectionHead, ItemBatch, NotesWanted
from isthmus.alignment.refusals import translated
from isthmus.alignment.reports import gap_message, report_message, verification_message
from isthmus.alignment.watch_calls import GrpcFollowedCollections, WatchCalls
from isthmus.alignment.watching.watcher import Watcher
from isthmus.core.aligners import Artefact, FitOptions
from isthmus.core.gap import PAIRS_MIN, SAMPLE_LIMIT
from isthmus.core.modality import Modality
from isthmus.core.watch import WatchLimits
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.limits import LABELS_MAX_COUNT, MEASURE_SAMPLE_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_name, check_request_id, check_space
from isthmus.runtime.rpc.channel import open_channel, stream
from isthmus.runtime.rpc.codec import check_modality, decode_vectors, encode_vectors
from isthmus.runtime.rpc.guard import guard_terms
from isthmus.runtime.rpc.matching import match_terms
from isthmus.runtime.rpc.server import Hosted, Registration
from isthmus.runtime.rpc.sharded import search_stub, split_addresses
from isthmus.runtime.rpc.tls_channel import ChannelTls
from isthmus.v1 import alignment_service_pb2, common_pb2, index_search_service_pb2
from isthmus.v1.alignment_service_pb2_grpc import add_AlignmentServiceServicer_to_server

if TYPE_CHECKING:
    from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceAsyncStub

__all__ = ["AlignmentServicer", "GrpcItemReader", "build"]

_Context = grpc.aio.ServicerContext[Any, Any]

_MODALITIES: Final = {common_pb2.MODALITY_IMAGE: Modality.IMAGE, common_pb2.MODALITY_TEXT: Modality.TEXT}


class GrpcItemReader:
    """Reads items from the index searcher.

    Args:
        stub: Of the searcher.
    """

    def __init__(self, stub: IndexSearchServiceAsyncStub) -> None:
        self._stub = stub

    async def read(
        self,
        collection: str,
        *,
        min_revision: int,
        paired_only: bool,
        notes: NotesWanted | None = None,
        sample: tuple[int, int] | None = None,
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield the head once, then batches until the collection is read, or a sample of its pairs: count and seed.

        Raises:
            IsthmusError: What the searcher refused with, UNAVAILABLE when it cannot be reached.
        """
        notes = notes or NotesWanted()
        count, seed = sample or (0, 0)
        request = index_search_service_pb2.ReadItemsRequest(
            collection=collection,
            min_revision=min_revision,
            paired_only=paired_only,
            attribute=notes.attribute,
            content_words=notes.words,
            sample_count=count,
            sample_seed=seed,
        )
        async for message in stream(self._stub.ReadItems, request, backend="index_search"):
            if message.HasField("collection"):
                yield _head(message)
            else:
                yield ItemBatch(
                    modality=_MODALITIES[message.modality],
                    ids=list(message.ids),
                    pair_keys=list(message.pair_keys),
                    vectors=decode_vectors(message.embeddings, field="embeddings", max_rows=UPSERT_MAX_COUNT),
                    values=list(message.attribute_values),
                    words=list(message.content_words),
                )


class AlignmentServicer(WatchCalls):
    """Checks requests, asks the engine, packs answers.

    Args:
        engine: The engine.
        watcher: Watches collections in the background.
        limits: From where it proposes a re-fit.
    """

    def __init__(self, engine: AlignmentEngine, watcher: Watcher, limits: WatchLimits) -> None:
        super().__init__(watcher, limits)
        self._engine = engine

    async def ListAligners(
        self, _request: alignment_service_pb2.AlignmentServiceListAlignersRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceListAlignersResponse:
        """List the newest revision of every aligner the tenant sees."""
        found = await self._engine.keeper.list_newest(_tenant())
        return alignment_service_pb2.AlignmentServiceListAlignersResponse(
            aligners=[self._described(one) for one in found]
        )

    async def GetAligner(
        self, request: alignment_service_pb2.AlignmentServiceGetAlignerRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceGetAlignerResponse:
        """Get one aligner with its tensors."""
        artefact = await self._engine.keeper.get(_tenant(), _reference(request.aligner))
        manifest, tensors = artefact.to_bytes()
        return alignment_service_pb2.AlignmentServiceGetAlignerResponse(
            artefact=common_pb2.AlignerArtefact(manifest=manifest, tensors=tensors), aligner=self._described(artefact)
        )

    async def ImportAligner(
        self, request: alignment_service_pb2.AlignmentServiceImportAlignerRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceImportAlignerResponse:
        """Keep an artefact that was trained elsewhere."""
        artefact = await self._engine.keeper.keep(
            _tenant(),
            manifest=request.artefact.manifest,
            tensors=request.artefact.tensors,
            request_id=check_request_id(request.request_id),
        )
        return alignment_service_pb2.AlignmentServiceImportAlignerResponse(aligner=self._described(artefact))

    async def FitAligner(
        self, request: alignment_service_pb2.AlignmentServiceFitAlignerRequest, _context: _Context
    ) -> AsyncIterator[alignment_service_pb2.AlignmentServiceFitAlignerResponse]:
        """Fit an aligner to a collection's pairs, with progress."""
        steps = self._engine.fit(
            _tenant(),
            check_name(request.collection, field="collection"),
            aligner_id=check_name(request.aligner_id, field="aligner_id"),
            method=request.method,
            options=_options(request.options, seed=request.seed),
            on_top_of=_reference(request.options.on_top_of) if request.options.on_top_of else None,
            min_revision=request.min_revision,
            request_id=check_request_id(request.request_id),
        )
        async with contextlib.aclosing(steps):  # a caller that goes between two steps gives its turn back at once
            async for step in steps:
                yield alignment_service_pb2.AlignmentServiceFitAlignerResponse(
                    progress=step.progress,
                    stage=step.stage,
                    aligner=None if step.artefact is None else self._described(step.artefact),
                )

    async def AlignVectors(
        self, request: alignment_service_pb2.AlignmentServiceAlignVectorsRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceAlignVectorsResponse:
        """Map raw vectors to the aligned space."""
        space, vectors = await self._engine.keeper.align(
            _tenant(),
            _reference(request.aligner),
            decode_vectors(request.vectors, field="vectors", max_rows=UPSERT_MAX_COUNT),
            modality=_MODALITIES[check_modality(request.modality, field="modality")],
            space=check_space(request.space, field="space"),
        )
        return alignment_service_pb2.AlignmentServiceAlignVectorsResponse(space=space, vectors=encode_vectors(vectors))

    async def Evaluate(
        self, request: alignment_service_pb2.AlignmentServiceEvaluateRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceEvaluateResponse:
        """Judge retrieval over a collection's pairs from exact similarities."""
        found = await self._engine.judge.evaluate(
            _tenant(),
            check_name(request.collection, field="collection"),
            min_revision=request.min_revision,
            reference=_reference(request.aligner) if request.aligner else None,
        )
        return alignment_service_pb2.AlignmentServiceEvaluateResponse(report=report_message(found))

    async def MeasureGap(
        self, request: alignment_service_pb2.AlignmentServiceMeasureGapRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceMeasureGapResponse:
        """Measure the gap between the modalities on a collection's pairs."""
        found = await self._engine.judge.measure(
            _tenant(),
            check_name(request.collection, field="collection"),
            min_revision=request.min_revision,
            reference=_reference(request.aligner) if request.aligner else None,
            request=MeasureRequest(
                seed=request.seed,
                sample_count=_sample_count(request.sample_count),
                compare_distances=request.compare_distances,
                page_subject=request.collection if request.render_page else "",
                label_attribute=request.label_attribute,
                label_vectors=_label_vectors(request),
                label_problem=request.label_problem,
            ),
        )
        return alignment_service_pb2.AlignmentServiceMeasureGapResponse(report=gap_message(found), page=found.page)

    async def VerifyAligner(
        self, request: alignment_service_pb2.AlignmentServiceVerifyAlignerRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceVerifyAlignerResponse:
        """Judge an aligner on a collection's held-out pairs."""
        found, revision = await self._engine.judge.verify(
            _tenant(),
            check_name(request.collection, field="collection"),
            _reference(request.aligner),
            min_revision=request.min_revision,
            seed=request.seed,
            page=request.render_page,
            asked=asked_of(request),
        )
        return alignment_service_pb2.AlignmentServiceVerifyAlignerResponse(
            report=verification_message(found), revision=revision, page=found.page
        )

    async def CompareAligners(
        self, request: alignment_service_pb2.AlignmentServiceCompareAlignersRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceCompareAlignersResponse:
        """Fit methods to a collection's pairs and judge all on the same held-out ones."""
        found, revision = await self._engine.judge.compare(
            check_name(request.collection, field="collection"),
            request.methods,
            min_revision=request.min_revision,
            options=FitOptions(hubness=request.hubness, seed=request.seed),
            page=request.render_page,
        )
        return alignment_service_pb2.AlignmentServiceCompareAlignersResponse(
            reports=[verification_message(one) for one in found.judged],
            refused=dict(found.refused),
            best=found.best,
            revision=revision,
            page=found.page,
        )

    async def AuditPairs(
        self, request: alignment_service_pb2.AlignmentServiceAuditPairsRequest, _context: _Context
    ) -> AsyncIterator[alignment_service_pb2.AlignmentServiceAuditPairsResponse]:
        """List the pairs of a collection that belong together least."""
        found = await self._engine.auditor.audit(
            check_name(request.collection, field="collection"),
            min_revision=request.min_revision,
            seed=request.seed,
            terms=match_terms(request.terms) if request.HasField("terms") else None,
        )
        for message in audit_messages(found, top_count=request.top_count):
            yield message

    async def ProposeLinks(
        self, request: alignment_service_pb2.AlignmentServiceProposeLinksRequest, _context: _Context
    ) -> AsyncIterator[alignment_service_pb2.AlignmentServiceProposeLinksResponse]:
        """Propose links between a collection's items that have no pair key."""
        found = await self._engine.linker.propose(
            _tenant(),
            check_name(request.collection, field="collection"),
            min_revision=request.min_revision,
            reference=_reference(request.aligner) if request.aligner else None,
            terms=link_terms(request.terms),
        )
        for message in link_messages(found, max_count=request.terms.max_count):
            yield message

    def _described(self, artefact: Artefact) -> common_pb2.Aligner:
        manifest = artefact.manifest
        return common_pb2.Aligner(
            aligner=artefact.space,
            method=manifest.method,
            image_space=manifest.image_space,
            text_space=manifest.text_space,
            dimension=manifest.dimension,
            manifest_json=artefact.manifest_bytes.decode(),
            notice=self._engine.keeper.notice(artefact),
        )


def build(config: AlignmentConfig) -> Hosted:
    """Make the service; it verifies the shipped aligners when it is warmed.

    Args:
        config: Its settings.
    """
    channels: list[grpc.aio.Channel] = []
    engine: AlignmentEngine | None = None
    watcher: Watcher | None = None

    def register(server: grpc.aio.Server) -> None:
        nonlocal engine, watcher
        files = config.backend_tls()
        tls = None if files is None else ChannelTls(files)
        channels.extend(open_channel(address, tls=tls) for address in split_addresses(config.index_search_address))
        stub = search_stub(channels)
        reader = GrpcItemReader(stub)
        engine = AlignmentEngine(config, reader)
        watcher = Watcher(config, GrpcFollowedCollections(stub, reader))
        servicer = AlignmentServicer(engine, watcher, config.watch_limits)
        add_AlignmentServiceServicer_to_server(servicer, server)

    async def warm() -> None:
        await cast("AlignmentEngine", engine).start()
        await cast("Watcher", watcher).start()

    async def close() -> None:
        if engine is not None and watcher is not None:
            await watcher.close()
            await engine.close()
            await asyncio.gather(*(channel.close() for channel in channels))

    async def probe() -> None:
        await cast("AlignmentEngine", engine).keeper.list_newest(context.DEFAULT_TENANT)

    return Hosted(
        name="alignment",
        registrations=(Registration(service="isthmus.v1.AlignmentService", register=register),),
        warm=warm,
        close=close,
        probe=probe,
    )


def _tenant() -> str:
    return check_name(context.current().tenant, field="tenant")


def _reference(reference: str) -> str:
    """Return `aligner_id` or `aligner_id@revision`, checked: it names a folder.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, INVALID_NAME or INVALID_FIELD.
    """
    if not reference:
        msg = "aligner is required"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "aligner"})
    check_name(reference.partition("@")[0], field="aligner")
    return check_space(reference, field="aligner") if "@" in reference else reference


def _options(message: common_pb2.FitOptions, *, seed: int) -> FitOptions:
    return FitOptions(
        strength=message.strength if message.HasField("strength") else FitOptions.strength,
        dimension=message.dimension or None,
        by_sigma=message.by_sigma,
        lift=message.lift if message.HasField("lift") else None,
        hubness=message.hubness,
        seed=seed,
    )


def _sample_count(wanted: int) -> int:
    """Return how many pairs the costlier measures look at.

    Raises:
        InvalidArgumentError: INVALID_FIELD.
    """
    if wanted and not PAIRS_MIN <= wanted <= MEASURE_SAMPLE_MAX_COUNT:
        msg = f"sample_count must be {PAIRS_MIN} to {MEASURE_SAMPLE_MAX_COUNT}, or unset"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "sample_count"})
    return wanted or SAMPLE_LIMIT


def _label_vectors(
    request: alignment_service_pb2.AlignmentServiceMeasureGapRequest,
) -> dict[str, NDArray[np.float32]]:
    """Return the embedding of each label.

    Raises:
        InvalidArgumentError: INVALID_VECTOR; they are not as many as the names.
    """
    if not request.HasField("label_vectors"):
        return {}
    rows = decode_vectors(request.label_vectors, field="label_vectors", max_rows=LABELS_MAX_COUNT)
    if len(rows) != len(request.label_names):
        msg = f"label_vectors has {len(rows)} rows for {len(request.label_names)} names"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": "label_vectors"})
    return dict(zip(request.label_names, rows, strict=True))


def _head(message: index_search_service_pb2.ReadItemsResponse) -> CollectionHead:
    artefact: Artefact | None = None
    if message.HasField("aligner"):
        with translated(stored=True):
            artefact = Artefact.from_bytes(message.aligner.manifest, message.aligner.tensors)
    collection = message.collection
    return CollectionHead(
        image_space=collection.image_space,
        text_space=collection.text_space,
        revision=collection.revision,
        aligner=artefact,
        item_count=collection.image_count + collection.text_count,
        guard=guard_terms(collection.guard),
    )
