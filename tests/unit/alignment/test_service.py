"""The wire of the alignment service: real gRPC over a unix socket, a searcher that streams items from memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.ports import ItemBatch, NotesWanted
from isthmus.alignment.service import build
from isthmus.core import Modality, canonical
from isthmus.core.aligners import Artefact
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
)
from isthmus.runtime.rpc.channel import call, open_channel, stream
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1 import alignment_service_pb2 as pb
from isthmus.v1 import common_pb2, index_search_service_pb2
from isthmus.v1.alignment_service_pb2_grpc import AlignmentServiceStub
from isthmus.v1.index_search_service_pb2_grpc import (
    IndexSearchServiceServicer,
    add_IndexSearchServiceServicer_to_server,
)
from tests.unit.alignment.conftest import SPACE, MakeItems, MemoryReader

if TYPE_CHECKING:
    from isthmus.v1.alignment_service_pb2_grpc import AlignmentServiceAsyncStub

MODALITIES = {Modality.IMAGE: common_pb2.MODALITY_IMAGE, Modality.TEXT: common_pb2.MODALITY_TEXT}


class MemorySearcher(IndexSearchServiceServicer):
    """Streams the items of a `MemoryReader`; knows one collection, `photos`."""

    def __init__(self, reader: MemoryReader) -> None:
        self.reader = reader

    async def Search(self, request: Any, _context: Any) -> Any:
        """Refuse: the alignment service never searches."""
        raise NotImplementedError

    async def GetItems(self, request: Any, _context: Any) -> Any:
        """Refuse: the alignment service never gets items by id."""
        raise NotImplementedError

    async def MatchPairs(self, request: Any, _context: Any) -> Any:
        """Refuse: the gateway has pairs matched, the alignment service never does."""
        raise NotImplementedError

    async def ListValues(self, request: Any, _context: Any) -> Any:
        """Refuse: the gateway asks for values, the alignment service never does."""
        raise NotImplementedError

    async def GetShadowReport(self, request: Any, _context: Any) -> Any:
        """Refuse: shadows are no business of the alignment service."""
        raise NotImplementedError

    async def SearchShard(self, request: Any, _context: Any) -> Any:
        """Refuse: the alignment service never searches a part."""
        raise NotImplementedError

    async def GetShardVectors(self, request: Any, _context: Any) -> Any:
        """Refuse: the alignment service reads streams."""
        raise NotImplementedError

    async def GetStructures(self, request: Any, _context: Any) -> Any:
        """Refuse: structures are no business of the alignment service."""
        raise NotImplementedError

    async def ForgetErased(self, request: Any, _context: Any) -> Any:
        """Refuse: the gateway erases, the alignment service never does."""
        raise NotImplementedError

    def BackupCollection(self, request: Any, _context: Any) -> Any:
        """Refuse: the gateway makes backups, the alignment service never does."""
        raise NotImplementedError

    async def CompareCollections(self, request: Any, _context: Any) -> Any:
        """Refuse: the gateway switches aliases, the alignment service never does."""
        raise NotImplementedError

    async def ListFollowed(self, _request: Any, _context: Any) -> Any:
        """Follow nothing."""
        return index_search_service_pb2.ListFollowedResponse()

    async def ReadItems(
        self, request: index_search_service_pb2.ReadItemsRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[index_search_service_pb2.ReadItemsResponse]:
        """Stream head and batches."""
        if request.collection != "photos":
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND")
        yield index_search_service_pb2.ReadItemsResponse(
            collection=common_pb2.Collection(
                name="photos",
                image_space=SPACE,
                text_space=self.reader.text_space,
                revision=7,
                image_count=len(self.reader.items[Modality.IMAGE].ids),
                text_count=len(self.reader.items[Modality.TEXT].ids),
            ),
            aligner=self._aligner(),
        )
        notes = NotesWanted(attribute=request.attribute, words=request.content_words)
        messages = self.reader.read("photos", min_revision=0, paired_only=request.paired_only, notes=notes)
        async for message in messages:
            if isinstance(message, ItemBatch):
                yield index_search_service_pb2.ReadItemsResponse(
                    modality=MODALITIES[message.modality],
                    ids=message.ids,
                    pair_keys=message.pair_keys,
                    embeddings=encode_vectors(message.vectors, half=True),
                    attribute_values=message.values,
                    content_words=message.words,
                )

    def _aligner(self) -> common_pb2.AlignerArtefact | None:
        if self.reader.aligner is None:
            return None
        manifest, tensors = self.reader.aligner.to_bytes()
        return common_pb2.AlignerArtefact(manifest=manifest, tensors=tensors)


async def nothing() -> None:
    """Warm or close a service that needs neither."""


@pytest.fixture
def reader(make_items: MakeItems) -> MemoryReader:
    """What the searcher streams."""
    return MemoryReader(make_items())


@pytest.fixture
async def stub(
    config: AlignmentConfig, reader: MemoryReader, tmp_path: Path
) -> AsyncIterator[AlignmentServiceAsyncStub]:
    """A stub of a warm alignment service beside its searcher."""
    searcher = Hosted(
        name="index_search",
        registrations=(
            Registration(
                service="isthmus.v1.IndexSearchService",
                register=lambda server: add_IndexSearchServiceServicer_to_server(MemorySearcher(reader), server),
            ),
        ),
        warm=nothing,
        close=nothing,
    )
    servers = [RpcServer(searcher, config.index_search_address), RpcServer(build(config), f"unix:{tmp_path}/a.sock")]
    for server in servers:
        await server.start()
        await server.warm()
    channel = open_channel(servers[1].address)
    yield AlignmentServiceStub(channel)
    await channel.close()
    for server in reversed(servers):
        await server.drain(grace_s=0)


async def fit(stub: AlignmentServiceAsyncStub, **changes: Any) -> list[pb.AlignmentServiceFitAlignerResponse]:
    """Fit to the end."""
    fields = {"collection": "photos", "aligner_id": "mine", "method": "center", "request_id": "r1"} | changes
    request = pb.AlignmentServiceFitAlignerRequest(**fields)
    return [message async for message in stream(stub.FitAligner, request, backend="alignment")]


async def test_fit_list_get_align_and_evaluate(stub: AlignmentServiceAsyncStub, reader: MemoryReader) -> None:
    """The whole story over the wire, each answer consistent with the others."""
    steps = await fit(stub)
    fitted = steps[-1].aligner
    assert (steps[-1].stage, steps[-1].progress, steps[0].HasField("aligner")) == ("done", 1.0, False)

    listed = await call(stub.ListAligners, pb.AlignmentServiceListAlignersRequest(), backend="alignment")
    assert fitted in listed.aligners

    got = await call(stub.GetAligner, pb.AlignmentServiceGetAlignerRequest(aligner="mine"), backend="alignment")
    artefact = Artefact.from_bytes(got.artefact.manifest, got.artefact.tensors)
    assert got.aligner == fitted
    assert artefact.space == fitted.aligner
    assert json.loads(fitted.manifest_json)["revision"] == artefact.revision
    assert (fitted.method, fitted.image_space, fitted.text_space, fitted.dimension) == ("center", SPACE, SPACE, 16)

    x = canonical(np.random.default_rng(0).normal(size=(3, 16)))
    request = pb.AlignmentServiceAlignVectorsRequest(
        aligner=fitted.aligner, modality=common_pb2.MODALITY_IMAGE, space=SPACE, vectors=encode_vectors(x, half=True)
    )
    aligned = await call(stub.AlignVectors, request, backend="alignment")
    assert aligned.space == fitted.aligner
    assert np.allclose(np.linalg.norm(decode_vectors(aligned.vectors, field="v", max_rows=3), axis=1), 1, atol=1e-6)

    reader.aligner = artefact
    evaluated = await call(stub.Evaluate, pb.AlignmentServiceEvaluateRequest(collection="photos"), backend="alignment")
    report = evaluated.report
    assert (report.pairs, report.image_queries, report.text_queries) == (400, 400, 800)
    assert (report.aligner, report.revision, report.through_search) == (fitted.aligner, 7, False)
    assert report.calibration == common_pb2.CALIBRATION_SOURCE_FITTED
    figures = (report.t2i.r1, report.i2t.r10, report.mixed_image_query.ndcg10, report.mixed_text_query.own_share)
    assert all(0 < figure <= 1 for figure in figures)


async def test_an_imported_aligner_comes_back_byte_for_byte(stub: AlignmentServiceAsyncStub) -> None:
    """What was trained elsewhere is kept as it is."""
    await fit(stub)
    got = await call(stub.GetAligner, pb.AlignmentServiceGetAlignerRequest(aligner="mine"), backend="alignment")
    request = pb.AlignmentServiceImportAlignerRequest(artefact=got.artefact, request_id="r2")
    kept = await call(stub.ImportAligner, request, backend="alignment")
    assert kept.aligner == got.aligner
    again = await call(
        stub.GetAligner, pb.AlignmentServiceGetAlignerRequest(aligner=kept.aligner.aligner), backend="alignment"
    )
    assert again.artefact == got.artefact


BAD_CALLS: list[tuple[str, Any, type[IsthmusError], str]] = [
    ("GetAligner", pb.AlignmentServiceGetAlignerRequest(), InvalidArgumentError, "FIELD_REQUIRED"),
    ("GetAligner", pb.AlignmentServiceGetAlignerRequest(aligner="../up"), InvalidArgumentError, "INVALID_NAME"),
    ("GetAligner", pb.AlignmentServiceGetAlignerRequest(aligner="a@../up"), InvalidArgumentError, "INVALID_FIELD"),
    ("GetAligner", pb.AlignmentServiceGetAlignerRequest(aligner="none"), NotFoundError, "ALIGNER_NOT_FOUND"),
    ("Evaluate", pb.AlignmentServiceEvaluateRequest(collection="No Name"), InvalidArgumentError, "INVALID_NAME"),
    ("Evaluate", pb.AlignmentServiceEvaluateRequest(collection="none"), NotFoundError, "COLLECTION_NOT_FOUND"),
    ("ImportAligner", pb.AlignmentServiceImportAlignerRequest(), InvalidArgumentError, "FIELD_REQUIRED"),
    (
        "ImportAligner",
        pb.AlignmentServiceImportAlignerRequest(request_id="r"),
        InvalidArgumentError,
        "ARTEFACT_DAMAGED",
    ),
    (
        "AlignVectors",
        pb.AlignmentServiceAlignVectorsRequest(
            aligner="mine", vectors=encode_vectors(np.ones((1, 2), np.float32)), space=SPACE
        ),
        InvalidArgumentError,
        "FIELD_REQUIRED",
    ),
    (
        "AlignVectors",
        pb.AlignmentServiceAlignVectorsRequest(aligner="mine", modality=common_pb2.MODALITY_IMAGE, space=SPACE),
        InvalidArgumentError,
        "INVALID_VECTOR",
    ),
    (
        "AlignVectors",
        pb.AlignmentServiceAlignVectorsRequest(
            aligner="mine",
            modality=common_pb2.MODALITY_IMAGE,
            vectors=encode_vectors(np.ones((1001, 2), np.float32)),
            space=SPACE,
        ),
        ResourceExhaustedError,
        "BATCH_TOO_LARGE",
    ),
]


@pytest.mark.parametrize(("method", "request_", "error", "reason"), BAD_CALLS)
async def test_a_bad_call_is_refused_with_its_reason(
    method: str, request_: Any, error: type[IsthmusError], reason: str, stub: AlignmentServiceAsyncStub
) -> None:
    """Each mistake has a code and a reason; none ends the service."""
    with pytest.raises(error) as caught:
        await call(getattr(stub, method), request_, backend="alignment")
    assert caught.value.reason == reason
    await call(stub.ListAligners, pb.AlignmentServiceListAlignersRequest(), backend="alignment")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aligner_id": "No Name"}, "INVALID_NAME"),
        ({"request_id": ""}, "FIELD_REQUIRED"),
        ({"method": "spectral"}, "INVALID_FIELD"),
    ],
)
async def test_a_bad_fit_is_refused_with_its_reason(
    changes: dict[str, str], reason: str, stub: AlignmentServiceAsyncStub
) -> None:
    """A stream is refused like any other call, before anything is read."""
    with pytest.raises(InvalidArgumentError) as caught:
        await fit(stub, **changes)
    assert caught.value.reason == reason


async def test_two_raw_spaces_are_refused_over_the_wire(stub: AlignmentServiceAsyncStub, reader: MemoryReader) -> None:
    """The command that mends it reaches the caller."""
    reader.text_space = "minilm@ffeeddccbbaa9988"
    with pytest.raises(FailedPreconditionError, match="isthmus align promote") as caught:
        await call(stub.Evaluate, pb.AlignmentServiceEvaluateRequest(collection="photos"), backend="alignment")
    assert caught.value.reason == "NO_ALIGNER"


async def test_what_is_wrong_with_a_dismissal_is_named(stub: AlignmentServiceAsyncStub) -> None:
    """A reason of 1,024 bytes goes through to the look-up, one more is refused; ids are required."""

    async def dismiss(**changes: Any) -> IsthmusError:
        fields = {"collection": "photos", "proposal": "0" * 16, "reason": "", "request_id": "r1"} | changes
        request = pb.AlignmentServiceDismissProposalRequest(**fields)
        with pytest.raises(IsthmusError) as caught:
            await call(stub.DismissProposal, request, backend="alignment")
        return caught.value

    found = await dismiss(reason="é" * 512)
    assert isinstance(found, NotFoundError)
    assert found.reason == "PROPOSAL_NOT_FOUND"
    refused = await dismiss(reason="é" * 512 + "a")
    assert isinstance(refused, ResourceExhaustedError)
    assert refused.metadata | {"field": "reason", "size": "1025", "limit": "1024"} == refused.metadata
    for changes in ({"proposal": ""}, {"request_id": ""}, {"collection": ""}):
        assert isinstance(await dismiss(**changes), InvalidArgumentError)


async def test_a_collection_that_nobody_has_looked_at_is_told_so(stub: AlignmentServiceAsyncStub) -> None:
    """No figures and no zeros: when and what is unset, and it says why."""
    request = pb.AlignmentServiceListWatchesRequest(collection="photos")
    (watch,) = (await call(stub.ListWatches, request, backend="alignment")).watches
    report = watch.report
    assert (report.revision, report.time_micros, report.unmeasured) == (0, 0, "nobody has looked yet")
    assert not report.HasField("raw_gap")
    assert not report.HasField("probe")
    assert report.limits.mean_share == 0.15
    everything = await call(stub.ListWatches, pb.AlignmentServiceListWatchesRequest(), backend="alignment")
    assert (len(everything.watches), everything.left_out_count) == (0, 0)
