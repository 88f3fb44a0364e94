"""Both index services over gRPC, each in a process of its own, as the gateway meets them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from isthmus.runtime.rpc import metadata
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.v1 import common_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.unit.index.support import (
    DIMENSION,
    IMAGE_SPACE,
    SPACE,
    TEXT_SPACE,
    center,
    fitted_calibration,
    heads,
    identity,
    request_id,
    vectors,
)

_IMAGE, _TEXT = common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT


class Services:
    """The two services and a stub for each."""

    def __init__(self, folder: Path) -> None:
        self._processes = [
            Process(
                ["-m", "isthmus.index", "--role", role],
                ready=f"isthmus index_{name} ready ",
                env={"ISTHMUS_INDEX_STORE_DIR": str(folder / "store"), "ISTHMUS_INDEX_LISTEN": f"unix:{folder}/{name}"},
            )
            for role, name in (("writer", "writer"), ("searcher", "search"))
        ]
        self._channels = [grpc.insecure_channel(process.address) for process in self._processes]
        self.writer = IndexWriterServiceStub(self._channels[0])
        self.search = IndexSearchServiceStub(self._channels[1])

    def stop(self) -> list[int]:
        """End both; return their exit statuses."""
        for channel in self._channels:
            channel.close()
        statuses = []
        for process in self._processes:
            with process:
                statuses.append(process.terminate())
        return statuses


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Both services, drained at the end."""
    running = Services(tmp_path_factory.mktemp("index"))
    yield running
    assert running.stop() == [0, 0]


@pytest.fixture
def collection(services: Services, request: pytest.FixtureRequest) -> str:
    """A fresh collection of one space that stores thumbnails."""
    return _create(services, f"c{abs(hash(request.node.nodeid))}", SPACE, SPACE, DIMENSION).name


def _create(
    services: Services, name: str, image_space: str, text_space: str, text_dimension: int, **more: Any
) -> common_pb2.Collection:
    answer = services.writer.CreateCollection(
        index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest(
            name=name,
            image_space=image_space,
            text_space=text_space,
            image_dimension=DIMENSION,
            text_dimension=text_dimension,
            store_thumbnails=True,
            request_id=request_id(),
            **more,
        )
    )
    return answer.collection


def _artefact(files: Any) -> common_pb2.AlignerArtefact:
    return common_pb2.AlignerArtefact(manifest=files.manifest, tensors=files.tensors)


def _batch(space: str, rows: np.ndarray) -> common_pb2.EmbeddingBatch:
    return common_pb2.EmbeddingBatch(space=space, vectors=encode_vectors(rows, half=True))


def _upsert_two(services: Services, collection: str) -> Any:
    return services.writer.UpsertItems(
        index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
            collection=collection,
            items=[
                index_writer_service_pb2.StoredItem(
                    id="picture",
                    modality=_IMAGE,
                    attributes={
                        "text": common_pb2.AttributeValue(string_value="ü"),
                        "int": common_pb2.AttributeValue(int_value=-(2**63)),
                        "float": common_pb2.AttributeValue(double_value=1.0),
                        "bool": common_pb2.AttributeValue(bool_value=False),
                    },
                    pair_key="pair",
                    content_digest=bytes(range(32)),
                    thumbnail=b"tiny",
                ),
                index_writer_service_pb2.StoredItem(id="sentence", modality=_TEXT, pair_key="pair"),
                index_writer_service_pb2.StoredItem(id="\n", modality=_TEXT),
            ],
            image_embeddings=_batch(SPACE, vectors(0, 1)),
            text_embeddings=_batch(SPACE, vectors(1, 2)),
            request_id=request_id(),
        )
    )


def _search(services: Services, collection: str, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "collection": collection,
        "modality": _IMAGE,
        "space": SPACE,
        "queries": encode_vectors(vectors(0, 2)),
        "top_k": 5,
    }
    return services.search.Search(index_search_service_pb2.SearchRequest(**(values | changes)), timeout=20)


def _refusal(error: grpc.RpcError) -> tuple[str, error_details_pb2.ErrorInfo]:
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return error.code().name, info


def test_items_are_stored_looked_up_searched_read_and_deleted(services: Services, collection: str) -> None:
    """Every field goes there and comes back; a wrong item is reported by its place."""
    stored = _upsert_two(services, collection)
    assert (stored.revision, stored.created_count, len(stored.errors)) == (2, 2, 1)
    assert (stored.errors[0].index, stored.errors[0].code) == (2, grpc.StatusCode.INVALID_ARGUMENT.value[0])

    look_up = index_writer_service_pb2.IndexWriterServiceLookupItemsRequest(
        collection=collection, ids=["nobody", "picture"]
    )
    nobody, picture = services.writer.LookupItems(look_up).items
    assert (nobody.found, picture.found) == (False, True)
    assert (picture.content_digest, picture.space) == (bytes(range(32)), SPACE)

    answer = _search(services, collection, min_revision=stored.revision)
    assert [len(result.neighbors) for result in answer.results] == [2, 2]
    best = answer.results[0].neighbors[0]
    assert (best.item.id, best.item.modality, best.item.pair_key) == ("picture", _IMAGE, "pair")
    assert best.score == pytest.approx(1.0, abs=1e-3)
    assert not best.HasField("probability")
    assert MessageToDict(best.item)["attributes"] == {
        "text": {"stringValue": "ü"},
        "int": {"intValue": str(-(2**63))},
        "float": {"doubleValue": 1.0},
        "bool": {"boolValue": False},
    }
    assert (answer.revision, answer.space) == (2, SPACE)
    assert answer.calibration == common_pb2.CALIBRATION_SOURCE_DEFAULT
    assert answer.timings.total_micros >= answer.timings.search_micros > 0

    got = services.search.GetItems(
        index_search_service_pb2.IndexSearchServiceGetItemsRequest(
            collection=collection, ids=["picture", "nobody"], include_embeddings=True, include_thumbnails=True
        )
    )
    (item,) = got.items
    assert (item.thumbnail, item.content_digest, item.revision) == (b"tiny", bytes(range(32)), 2)
    np.testing.assert_array_equal(decode_vectors(item.embedding, field="embedding", max_rows=1), vectors(0, 1))

    head, *batches = services.search.ReadItems(index_search_service_pb2.ReadItemsRequest(collection=collection))
    assert (head.collection.revision, head.collection.image_count, list(head.ids)) == (2, 1, [])
    assert not head.HasField("aligner")
    assert [(list(batch.ids), batch.modality, list(batch.pair_keys)) for batch in batches] == [
        (["picture"], _IMAGE, ["pair"]),
        (["sentence"], _TEXT, ["pair"]),
    ]

    deleted = services.writer.DeleteItems(
        index_writer_service_pb2.IndexWriterServiceDeleteItemsRequest(
            collection=collection, ids=["picture"], request_id=request_id()
        )
    )
    assert (deleted.revision, deleted.deleted_count) == (3, 1)
    after = _search(services, collection, min_revision=3, item_modality=_IMAGE)
    assert [len(result.neighbors) for result in after.results] == [0, 0]
    assert after.calibration == common_pb2.CALIBRATION_SOURCE_UNSPECIFIED


def test_an_aligner_travels_with_its_calibration(services: Services, collection: str) -> None:
    """Set by one service, followed by the other, read back bit for bit; probabilities appear."""
    _upsert_two(services, collection)
    files = identity(fitted_calibration())
    answer = services.writer.SetAligner(
        index_writer_service_pb2.IndexWriterServiceSetAlignerRequest(
            collection=collection, aligner=_artefact(files), allow_unverified=True, request_id=request_id()
        )
    )
    found = _search(services, collection, min_revision=answer.collection.revision)
    assert found.space == answer.collection.aligner
    assert found.calibration == common_pb2.CALIBRATION_SOURCE_FITTED
    assert all(n.HasField("probability") for result in found.results for n in result.neighbors)
    head = next(iter(services.search.ReadItems(index_search_service_pb2.ReadItemsRequest(collection=collection))))
    assert head.aligner == _artefact(files)


def test_collections_are_created_listed_and_deleted(services: Services) -> None:
    """With an aligner from the start; a deleted one is gone for both services."""
    made = _create(services, "travelling", IMAGE_SPACE, TEXT_SPACE, 8, aligner=_artefact(heads()))
    assert made.aligner.startswith("heads@")
    listed = services.writer.ListCollections(index_writer_service_pb2.IndexWriterServiceListCollectionsRequest())
    assert made in listed.collections
    get = index_writer_service_pb2.IndexWriterServiceGetCollectionRequest(name="travelling")
    assert services.writer.GetCollection(get).collection == made
    with pytest.raises(grpc.RpcError) as caught:
        services.writer.GetCollection(get, metadata=((metadata.TENANT, "other"),))
    assert _refusal(caught.value)[1].reason == "COLLECTION_NOT_FOUND"
    services.writer.DeleteCollection(
        index_writer_service_pb2.IndexWriterServiceDeleteCollectionRequest(name="travelling", request_id="bye")
    )
    with pytest.raises(grpc.RpcError) as caught:
        _search(services, "travelling")
    assert _refusal(caught.value)[1].reason == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"modality": 0}, "INVALID_ARGUMENT", "FIELD_REQUIRED"),
        ({"modality": 9}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
        ({"item_modality": 9}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
        ({"top_k": 0}, "INVALID_ARGUMENT", "INVALID_FIELD"),
        ({"top_k": 1001}, "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED"),
        ({"queries": common_pb2.Vectors(data=b"123", dimension=DIMENSION)}, "INVALID_ARGUMENT", "INVALID_VECTOR"),
        ({"queries": encode_vectors(vectors(0, 257))}, "RESOURCE_EXHAUSTED", "BATCH_TOO_LARGE"),
        ({"queries": encode_vectors(vectors(0, 1, 5))}, "INVALID_ARGUMENT", "INVALID_VECTOR"),
        ({"space": IMAGE_SPACE}, "FAILED_PRECONDITION", "SPACE_MISMATCH"),
        ({"collection": "nobody"}, "NOT_FOUND", "COLLECTION_NOT_FOUND"),
    ],
)
def test_a_wrong_search_is_refused_with_its_reason(
    services: Services, collection: str, changes: dict[str, Any], code: str, reason: str
) -> None:
    """Code and reason as the table of errors says."""
    with pytest.raises(grpc.RpcError) as caught:
        _search(services, **({"collection": collection} | changes))
    refused, info = _refusal(caught.value)
    assert (refused, info.reason) == (code, reason)


def test_a_revision_that_does_not_come_is_unavailable_within_the_deadline(services: Services, collection: str) -> None:
    """The caller's deadline travels; the service answers before it passes or the call ends by it."""
    request = index_search_service_pb2.SearchRequest(
        collection=collection,
        modality=_IMAGE,
        space=SPACE,
        queries=encode_vectors(vectors(0, 1)),
        top_k=1,
        min_revision=9,
    )
    with pytest.raises(grpc.RpcError) as caught:
        services.search.Search(request, timeout=0.3)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("artefact", "code", "reason"),
    [
        (common_pb2.AlignerArtefact(tensors=b"x"), "INVALID_ARGUMENT", "FIELD_REQUIRED"),
        (
            common_pb2.AlignerArtefact(manifest=bytes(1024 * 1024 + 1), tensors=b"x"),
            "RESOURCE_EXHAUSTED",
            "LIMIT_EXCEEDED",
        ),
        (common_pb2.AlignerArtefact(manifest=b"{}", tensors=b"x"), "INVALID_ARGUMENT", "ARTEFACT_DAMAGED"),
        (_artefact(heads()), "FAILED_PRECONDITION", "ALIGNER_SPACES_MISMATCH"),
    ],
)
def test_a_wrong_aligner_is_refused_with_its_reason(
    services: Services, collection: str, artefact: common_pb2.AlignerArtefact, code: str, reason: str
) -> None:
    """The collection keeps the aligner it has."""
    request = index_writer_service_pb2.IndexWriterServiceSetAlignerRequest(
        collection=collection, aligner=artefact, allow_unverified=True, request_id=request_id()
    )
    with pytest.raises(grpc.RpcError) as caught:
        services.writer.SetAligner(request)
    refused, info = _refusal(caught.value)
    assert (refused, info.reason) == (code, reason)


@pytest.mark.parametrize(
    ("item", "vectors_given", "reason"),
    [
        ({"modality": 0}, vectors(0, 1), "FIELD_REQUIRED"),
        ({"attributes": {"a": common_pb2.AttributeValue()}}, vectors(0, 1), "INVALID_ATTRIBUTES"),
        ({}, vectors(0, 2), "INVALID_VECTOR"),
        ({}, vectors(0, 1, 5), "INVALID_VECTOR"),
    ],
)
def test_a_wrong_upsert_is_refused_with_its_reason(
    services: Services, collection: str, item: dict[str, Any], vectors_given: np.ndarray, reason: str
) -> None:
    """What makes the whole request meaningless fails it as a whole; nothing is stored."""
    fields: dict[str, Any] = {"id": "a", "modality": _IMAGE} | item
    request = index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
        collection=collection,
        items=[index_writer_service_pb2.StoredItem(**fields)],
        image_embeddings=_batch(SPACE, vectors_given),
        request_id=request_id(),
    )
    with pytest.raises(grpc.RpcError) as caught:
        services.writer.UpsertItems(request)
    refused, info = _refusal(caught.value)
    assert (refused, info.reason) == ("INVALID_ARGUMENT", reason)
    get = index_writer_service_pb2.IndexWriterServiceGetCollectionRequest(name=collection)
    assert services.writer.GetCollection(get).collection.revision == 1


def test_an_answer_too_large_for_a_message_is_refused_in_words(services: Services, collection: str) -> None:
    """300 thumbnails of 64 KiB do not fit into 16 MiB; fewer do."""
    ids = [str(number) for number in range(300)]
    for start in range(0, 300, 150):
        services.writer.UpsertItems(
            index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
                collection=collection,
                items=[
                    index_writer_service_pb2.StoredItem(id=item_id, modality=_IMAGE, thumbnail=bytes(64 * 1024))
                    for item_id in ids[start : start + 150]
                ],
                image_embeddings=_batch(SPACE, vectors(0, 150)),
                request_id=request_id(),
            )
        )
    ask = index_search_service_pb2.IndexSearchServiceGetItemsRequest(
        collection=collection, ids=ids, include_thumbnails=True, min_revision=3
    )
    channel = grpc.insecure_channel(
        services._processes[1].address, options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)]
    )
    with channel, pytest.raises(grpc.RpcError) as caught:
        IndexSearchServiceStub(channel).GetItems(ask)
    assert _refusal(caught.value)[1].reason == "MESSAGE_TOO_LARGE"
    del ask.ids[30:]
    assert len(services.search.GetItems(ask).items) == 30


def test_switching_aligners_while_searching_never_mixes_spaces(services: Services, collection: str) -> None:
    """Each answer names one aligner, and its scores are those of that aligner."""
    _upsert_two(services, collection)
    spaces = set()
    for seed in range(3):
        answer = services.writer.SetAligner(
            index_writer_service_pb2.IndexWriterServiceSetAlignerRequest(
                collection=collection, aligner=_artefact(center(seed)), allow_unverified=True, request_id=request_id()
            )
        )
        spaces.add(answer.collection.aligner)
        found = _search(services, collection, min_revision=answer.collection.revision)
        assert found.space == answer.collection.aligner
        assert found.results[0].neighbors[0].score == pytest.approx(1.0, abs=1e-5)
    assert len(spaces) == 3
