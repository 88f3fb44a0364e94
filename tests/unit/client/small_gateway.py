"""A small gateway that keeps everything in memory: real sockets and the real wire around answers a test can foresee.

An image or a text "embeds" to a vector drawn from the SHA-256 of its bytes, so equal content is at cosine 1 and other
content further off. It runs on the runtime's own server, so errors, request ids and limits are those of a mesh.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
)
from isthmus.runtime.base.limits import GATEWAY_RECEIVE_MAX_BYTES
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import common_pb2, gateway_service_pb2, gateway_service_pb2_grpc

DIMENSION = 8
IMAGE_SPACE = "small-image@0123456789abcdef"
TEXT_SPACE = "small-text@fedcba9876543210"
ALIGNER = "small-heads@00112233445566aa"
BROKEN_IMAGE = b"broken"
_MANIFEST = {
    "created_by": "a test",
    "pair_count": 12,
    "seed": 3,
    "calibration": None,
    "report": {"n": 4, "recall": {"t2i": {"r1": 0.5}}},
}
_SPACES = {common_pb2.MODALITY_IMAGE: IMAGE_SPACE, common_pb2.MODALITY_TEXT: TEXT_SPACE}


def embedding(content: bytes) -> NDArray[np.float32]:
    """Return the unit vector that `content` embeds to, (8,) float32, rounded to float16 values."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION)
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
    return unit


class SmallGateway(gateway_service_pb2_grpc.GatewayServiceServicer):
    """Collections in a dict, and a script of failures.

    Attributes:
        calls: Attempts by method, failed ones included.
        requests: Every request message by method; upserts message by message.
        failures: By method, what the next calls raise, first to last; None lets one pass.
        apply_before_failing: Let an upsert message take effect before its scripted failure hides the acknowledgement.
        delay_s: By method, how long an answer takes.
        applied: Upsert request ids in the order they took effect.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.failures: defaultdict[str, deque[BaseException | None]] = defaultdict(deque)
        self.apply_before_failing = False
        self.delay_s: dict[str, float] = {}
        self.applied: list[str] = []
        self._answers: dict[str, gateway_service_pb2.UpsertItemsResponse] = {}
        self.collections: dict[str, common_pb2.Collection] = {}
        self.items: defaultdict[str, dict[str, tuple[common_pb2.Item, NDArray[np.float32]]]] = defaultdict(dict)

    async def _enter(self, method: str, request: Any) -> None:
        self.calls[method] += 1
        self.requests[method].append(request)
        await asyncio.sleep(self.delay_s.get(method, 0))
        self._fail(method)

    def _fail(self, method: str) -> None:
        failure = self.failures[method].popleft() if self.failures[method] else None
        if failure is not None:
            raise failure

    async def Embed(self, request: gateway_service_pb2.EmbedRequest, _context: Any) -> Any:
        """Embed by digest; the image `BROKEN_IMAGE` and blank texts are refused, texts over 20 characters are cut."""
        await self._enter("Embed", request)
        response = gateway_service_pb2.EmbedResponse()
        rows: dict[str, list[tuple[int, NDArray[np.float32]]]] = {"image": [], "text": []}
        for index, given in enumerate(request.inputs):
            content = given.image if given.HasField("image") else given.text.encode()
            if error := _refusal(given.HasField("image"), content):
                response.errors.append(item_error(index, error))
                continue
            if given.HasField("text") and len(given.text) > 20:
                response.truncated_indexes.append(index)
            rows["image" if given.HasField("image") else "text"].append((index, embedding(content)))
        for name, batch, space in (
            ("image", response.image_embeddings, IMAGE_SPACE),
            ("text", response.text_embeddings, TEXT_SPACE),
        ):
            if rows[name]:
                batch.space = request.aligner or space
                batch.input_indexes.extend(index for index, _ in rows[name])
                batch.vectors.CopyFrom(encode_vectors(np.stack([row for _, row in rows[name]]), half=True))
        response.timings.total_micros = 100
        response.timings.cache_misses = len(request.inputs)
        return response

    async def UpsertItems(
        self, request_iterator: AsyncIterator[gateway_service_pb2.UpsertItemsRequest], _context: Any
    ) -> AsyncIterator[gateway_service_pb2.UpsertItemsResponse]:
        """Apply messages in order, each once by its request id."""
        self.calls["UpsertItems"] += 1
        async for request in request_iterator:
            self.requests["UpsertItems"].append(request)
            await asyncio.sleep(self.delay_s.get("UpsertItems", 0))
            if self.apply_before_failing:
                self._apply(request)
            self._fail("UpsertItems")
            yield self._apply(request)

    def _apply(self, request: gateway_service_pb2.UpsertItemsRequest) -> gateway_service_pb2.UpsertItemsResponse:
        if request.request_id in self._answers:
            return self._answers[request.request_id]
        collection = self._collection(request.collection)
        collection.revision += 1
        response = gateway_service_pb2.UpsertItemsResponse(request_id=request.request_id, revision=collection.revision)
        stored = self.items[request.collection]
        for index, given in enumerate(request.items):
            modality, content, vector = _content(given)
            if error := _refusal(modality == common_pb2.MODALITY_IMAGE and not given.HasField("vector"), content):
                response.errors.append(item_error(index, error))
                continue
            digest = hashlib.sha256(content).digest()
            item = common_pb2.Item(
                id=given.id,
                modality=modality,
                attributes=given.attributes,
                pair_key=given.pair_key,
                space=given.vector.space or _SPACES[modality],
                thumbnail=given.thumbnail,
                content_digest=digest,
            )
            old = stored.get(given.id)
            if old is not None:
                item.revision = old[0].revision
            if old is None:
                response.created_count += 1
            elif old[0] == item:
                response.unchanged_count += 1
                continue
            else:
                response.updated_count += 1
            if given.HasField("text") and len(given.text) > 20:
                response.truncated_indexes.append(index)
            item.revision = collection.revision
            stored[given.id] = (item, vector)
        collection.image_count = sum(i.modality == common_pb2.MODALITY_IMAGE for i, _ in stored.values())
        collection.text_count = len(stored) - collection.image_count
        self.applied.append(request.request_id)
        self._answers[request.request_id] = response
        return response

    def _collection(self, name: str) -> common_pb2.Collection:
        if name not in self.collections:
            msg = "there is no such collection"
            raise NotFoundError(msg, reason="COLLECTION_NOT_FOUND", metadata={"field": "collection"})
        return self.collections[name]

    async def DeleteItems(self, request: gateway_service_pb2.DeleteItemsRequest, _context: Any) -> Any:
        """Delete what is there."""
        await self._enter("DeleteItems", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        gone = [item_id for item_id in request.ids if self.items[request.collection].pop(item_id, None)]
        return gateway_service_pb2.DeleteItemsResponse(revision=collection.revision, deleted_count=len(gone))

    async def GetItems(self, request: gateway_service_pb2.GetItemsRequest, _context: Any) -> Any:
        """Return what is there, in the order asked."""
        await self._enter("GetItems", request)
        collection = self._collection(request.collection)
        response = gateway_service_pb2.GetItemsResponse(revision=collection.revision)
        for item_id in request.ids:
            if item_id in self.items[request.collection]:
                item, vector = self.items[request.collection][item_id]
                shown = response.items.add()
                shown.CopyFrom(item)
                if request.include_embeddings:
                    shown.embedding.CopyFrom(encode_vectors(vector[None], half=True))
                if not request.include_thumbnails:
                    shown.ClearField("thumbnail")
        return response

    async def SearchItems(self, request: gateway_service_pb2.SearchItemsRequest, _context: Any) -> Any:
        """Rank everything by cosine."""
        await self._enter("SearchItems", request)
        collection = self._collection(request.collection)
        stored = self.items[request.collection]
        if request.HasField("text"):
            query = embedding(request.text.encode())
        elif request.HasField("image"):
            query = embedding(request.image)
        elif request.HasField("vector"):
            query = decode_vectors(request.vector.vector, field="query.vector", max_rows=1)[0]
        elif request.item_id in stored:
            query = stored[request.item_id][1]
        else:
            msg = "there is no such item"
            raise NotFoundError(msg, reason="ITEM_NOT_FOUND", metadata={"field": "query.item_id"})
        wanted = [
            (float(vector @ query), item)
            for item, vector in stored.values()
            if request.modality in (common_pb2.MODALITY_UNSPECIFIED, item.modality) and item.id != request.item_id
        ]
        wanted.sort(key=lambda pair: -pair[0])
        response = gateway_service_pb2.SearchItemsResponse(
            revision=collection.revision,
            space=ALIGNER,
            calibration=common_pb2.CALIBRATION_SOURCE_FITTED,
            truncated=len(request.text) > 20,
            degraded=["cache"],
            timings=common_pb2.Timings(total_micros=1500, encode_micros=900, search_micros=300),
        )
        for score, item in wanted[: request.top_k]:
            response.neighbors.add(item=item, score=score, calibrated_score=2 * score, probability=0.5)
        return response

    async def CreateCollection(self, request: gateway_service_pb2.CreateCollectionRequest, _context: Any) -> Any:
        """Create, or say that it is there."""
        await self._enter("CreateCollection", request)
        if request.name in self.collections:
            msg = "the collection is there already"
            raise AlreadyExistsError(msg, reason="COLLECTION_EXISTS", metadata={"field": "name"})
        both = not request.image_space and not request.text_space
        collection = common_pb2.Collection(
            name=request.name,
            image_space=IMAGE_SPACE if both else request.image_space,
            text_space=TEXT_SPACE if both else request.text_space,
            image_dimension=DIMENSION if both else request.image_dimension,
            text_dimension=DIMENSION if both else request.text_dimension,
            aligner=request.aligner or ALIGNER,
            guard=request.guard,
            store_thumbnails=request.store_thumbnails,
            revision=1,
        )
        self.collections[request.name] = collection
        return gateway_service_pb2.CreateCollectionResponse(collection=collection)

    async def GetCollection(self, request: gateway_service_pb2.GetCollectionRequest, _context: Any) -> Any:
        """Return one."""
        await self._enter("GetCollection", request)
        return gateway_service_pb2.GetCollectionResponse(collection=self._collection(request.name))

    async def ListCollections(self, request: gateway_service_pb2.ListCollectionsRequest, _context: Any) -> Any:
        """Return all by name."""
        await self._enter("ListCollections", request)
        return gateway_service_pb2.ListCollectionsResponse(
            collections=[self.collections[name] for name in sorted(self.collections)]
        )

    async def DeleteCollection(self, request: gateway_service_pb2.DeleteCollectionRequest, _context: Any) -> Any:
        """Delete one."""
        await self._enter("DeleteCollection", request)
        self._collection(request.name)
        del self.collections[request.name]
        self.items.pop(request.name, None)
        return gateway_service_pb2.DeleteCollectionResponse()

    async def Evaluate(self, request: gateway_service_pb2.EvaluateRequest, _context: Any) -> Any:
        """Return fixed figures."""
        await self._enter("Evaluate", request)
        collection = self._collection(request.collection)
        mixed = common_pb2.MixedRetrieval(r1=0.125, r10=0.5, r20=0.75, ndcg10=0.25, own_share=0.5)
        return gateway_service_pb2.EvaluateResponse(
            report=common_pb2.EvaluationReport(
                pairs=10,
                image_queries=10,
                text_queries=50,
                t2i=common_pb2.RecallAt(r1=0.25, r5=0.5, r10=0.75),
                i2t=common_pb2.RecallAt(r1=0.375, r5=0.625, r10=0.875),
                mixed_image_query=mixed,
                mixed_text_query=mixed,
                aligner=ALIGNER,
                revision=collection.revision,
                through_search=request.through_search,
                calibration=common_pb2.CALIBRATION_SOURCE_FITTED,
            )
        )

    async def MeasureGap(self, request: gateway_service_pb2.MeasureGapRequest, _context: Any) -> Any:
        """Return figures that a test can tell apart, and leave some out."""
        await self._enter("MeasureGap", request)
        collection = self._collection(request.collection)
        document = {"n": 20, "gap": {"centroid": 0.5, "fid": None}, "missing": {"fid": "too few"}}
        return gateway_service_pb2.MeasureGapResponse(
            report=common_pb2.GapReport(
                pairs=20,
                image_count=20,
                text_count=40,
                sample_count=request.sample_count,
                seed=request.seed,
                share=0.5,
                gap=common_pb2.GapFigures(centroid=0.5, paired_cosine=0.0),
                report_json=json.dumps(document),
                aligner=request.aligner,
                revision=collection.revision,
            )
        )

    async def VerifyAligner(self, request: gateway_service_pb2.VerifyAlignerRequest, _context: Any) -> Any:
        """Refuse it, with figures."""
        await self._enter("VerifyAligner", request)
        report = _verification("heads", aligner=request.aligner, reasons=["hubness growth: too much"])
        return gateway_service_pb2.VerifyAlignerResponse(
            report=report, revision=self._collection(request.collection).revision
        )

    async def CompareAligners(self, request: gateway_service_pb2.CompareAlignersRequest, _context: Any) -> Any:
        """Let all pass but the last, which cannot be fitted."""
        await self._enter("CompareAligners", request)
        *fitted, last = request.methods
        return gateway_service_pb2.CompareAlignersResponse(
            reports=[_verification(method, aligner="", reasons=[]) for method in fitted],
            refused={last: "too few pairs"},
            best=fitted[0],
            revision=self._collection(request.collection).revision,
        )

    async def ListAligners(self, request: gateway_service_pb2.ListAlignersRequest, _context: Any) -> Any:
        """Return the one there is."""
        await self._enter("ListAligners", request)
        return gateway_service_pb2.ListAlignersResponse(aligners=[_aligner(ALIGNER, "heads")])

    async def GetAligner(self, request: gateway_service_pb2.GetAlignerRequest, _context: Any) -> Any:
        """Return the one there is, and where wanted an artefact."""
        await self._enter("GetAligner", request)
        if request.aligner not in (ALIGNER, ALIGNER.partition("@")[0]):
            msg = "aligner: there is none of that name and revision"
            raise NotFoundError(msg, reason="ALIGNER_NOT_FOUND")
        artefact = common_pb2.AlignerArtefact(manifest=b"{}", tensors=b"tensors") if request.include_artefact else None
        return gateway_service_pb2.GetAlignerResponse(aligner=_aligner(ALIGNER, "heads"), artefact=artefact)

    async def FitAligner(
        self, request: gateway_service_pb2.FitAlignerRequest, _context: Any
    ) -> AsyncIterator[gateway_service_pb2.FitAlignerResponse]:
        """Tell three steps; the last holds the aligner."""
        await self._enter("FitAligner", request)
        self._collection(request.collection)
        yield gateway_service_pb2.FitAlignerResponse(progress=0.25, stage="reading")
        yield gateway_service_pb2.FitAlignerResponse(progress=0.75, stage="fitting")
        if request.aligner_id != "never":
            found = _aligner(f"{request.aligner_id}@0000000000000001", request.method)
            yield gateway_service_pb2.FitAlignerResponse(progress=1, stage="done", aligner=found)

    async def ImportAligner(self, request: gateway_service_pb2.ImportAlignerRequest, _context: Any) -> Any:
        """Take anything."""
        await self._enter("ImportAligner", request)
        return gateway_service_pb2.ImportAlignerResponse(aligner=_aligner("mine@0000000000000002", "heads"))

    async def PromoteAligner(self, request: gateway_service_pb2.PromoteAlignerRequest, _context: Any) -> Any:
        """Write it into the collection."""
        await self._enter("PromoteAligner", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        collection.aligner = request.aligner
        return gateway_service_pb2.PromoteAlignerResponse(collection=collection)

    async def RollbackAligner(self, request: gateway_service_pb2.RollbackAlignerRequest, _context: Any) -> Any:
        """Take the aligner away."""
        await self._enter("RollbackAligner", request)
        collection = self._collection(request.collection)
        if not collection.aligner:
            msg = "the collection has had no other aligner to roll back to"
            raise FailedPreconditionError(msg, reason="NO_PREVIOUS_ALIGNER")
        collection.revision += 1
        collection.aligner = ""
        return gateway_service_pb2.RollbackAlignerResponse(collection=collection)

    async def GetStatus(self, request: gateway_service_pb2.GetStatusRequest, _context: Any) -> Any:
        """Say what a mesh says."""
        await self._enter("GetStatus", request)
        return gateway_service_pb2.GetStatusResponse(
            version="0.1.0",
            encoders=[
                gateway_service_pb2.EncoderStatus(
                    space=space,
                    modality=modality,
                    dimension=DIMENSION,
                    compute_type="float32",
                    device="cpu",
                    encoded_items=12,
                    forward_calls=3,
                    serving=True,
                )
                for modality, space in _SPACES.items()
            ],
            cache=gateway_service_pb2.CacheStatus(
                backend="redis", serving=True, local_hits=4, backend_hits=1, misses=2
            ),
            index_writer_serving=True,
            index_search_serving=True,
            alignment_serving=False,
            default_aligner=ALIGNER,
            notices=["The shipped aligner is for research and education only."],
        )


def _verification(method: str, *, aligner: str, reasons: list[str]) -> common_pb2.VerificationReport:
    query = {"r1": 0.5, "r10": 0.75, "r20": 1.0, "ndcg10": 0.625, "own_share": 0.25}
    figures = {
        "n": 20,
        "recall": {name: {"r1": 0.25, "r5": 0.5, "r10": 0.75} for name in ("t2i", "i2t")},
        "mixed": {"image_query": query, "text_query": query},
        "hubness": 0.125,
    }
    guard = {"ok": not reasons, "reasons": reasons}
    document = {"before": figures, "after": figures, "guard": guard, "calibration": {"ece": 0.0}}
    return common_pb2.VerificationReport(
        method=method,
        aligner=aligner,
        pairs=20,
        guard_ok=not reasons,
        guard_reasons=reasons,
        ece=0.0,
        report_json=json.dumps(document),
    )


def _aligner(name: str, method: str) -> common_pb2.Aligner:
    return common_pb2.Aligner(
        aligner=name,
        method=method,
        image_space=IMAGE_SPACE,
        text_space=TEXT_SPACE,
        dimension=DIMENSION,
        manifest_json=json.dumps(_MANIFEST),
    )


def _refusal(is_image: bool, content: bytes) -> IsthmusError | None:  # noqa: FBT001 - a test's helper
    if is_image and content == BROKEN_IMAGE:
        return InvalidArgumentError("the bytes are not a readable image", reason="INVALID_IMAGE")
    if not is_image and not content.strip():
        return InvalidArgumentError("the text is empty", reason="EMPTY_TEXT", metadata={"field": "text"})
    return None


def _content(
    given: gateway_service_pb2.UpsertItem,
) -> tuple[common_pb2.Modality.ValueType, bytes, NDArray[np.float32]]:
    if given.HasField("vector"):
        vector = decode_vectors(given.vector.vector, field="vector", max_rows=1)[0]
        return given.vector.modality, vector.tobytes(), vector / np.linalg.norm(vector)
    if given.HasField("image"):
        return common_pb2.MODALITY_IMAGE, given.image, embedding(given.image)
    return common_pb2.MODALITY_TEXT, given.text.encode(), embedding(given.text.encode())


class Running:
    """A gateway on a port of loopback, in a thread with an event loop of its own.

    Args:
        gateway: What answers.
    """

    def __init__(self, gateway: SmallGateway) -> None:
        self.gateway = gateway
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: RpcServer | None = None
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Listen: on a free port at first, on the same one after a `stop`."""
        self._run(self._start())

    def stop(self) -> None:
        """Break every call off and close the port."""
        self._run(self._stop())

    def close(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        async def nothing() -> None:
            pass

        def register(server: grpc.aio.Server) -> None:
            gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(self.gateway, server)

        hosted = Hosted(
            name="gateway",
            registrations=[Registration("isthmus.v1.GatewayService", register)],
            warm=nothing,
            close=nothing,
            public=True,
            receive_max_bytes=GATEWAY_RECEIVE_MAX_BYTES,
        )
        server = RpcServer(hosted, self.address)
        await server.start()
        await server.warm()
        self.address, self._server = server.address, server

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.drain(grace_s=0)
            self._server = None


@contextlib.contextmanager
def running(gateway: SmallGateway) -> Iterator[Running]:
    """Run `gateway` for the length of a block."""
    server = Running(gateway)
    server.start()
    try:
        yield server
    finally:
        server.close()
