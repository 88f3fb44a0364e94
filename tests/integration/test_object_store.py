"""The store on an object store: writer, searchers and alignment in processes of their own, against an S3 server."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import numpy as np
import pytest

from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.v1 import common_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.harness.s3_server import S3Server, running_s3
from tests.harness.writing import WritingClient, write_until
from tests.unit.index.support import (
    DIMENSION,
    IMAGE_SPACE,
    ONE_SPACE,
    SPACE,
    TENANT,
    TEXT_SPACE,
    create,
    heads,
    images,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_IMAGE, _TEXT = common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT
_TEXT_DIMENSION = 8
_COUNT = 120
_SEED = time.time_ns() % 1_000_000
_KILLS = 3

T = TypeVar("T")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """One server for all tests; each has a prefix of its own."""
    with running_s3() as server:
        yield server


class _Index:
    """A writer and searchers over one store.

    Args:
        store: Its folder or URI.
        env: What else they need.
        searchers: How many.
    """

    def __init__(self, store: str, env: dict[str, str], *, searchers: int = 2) -> None:
        self._roles = [("writer", "writer"), *[("searcher", "search")] * searchers]
        self._env = {"ISTHMUS_INDEX_STORE_DIR": store, "ISTHMUS_INDEX_POLL_INTERVAL_S": "0.5", **env}
        self._processes: list[Process] = []
        self._channels: list[grpc.Channel] = []
        self.ready_s: list[float] = []

    def __enter__(self) -> Self:
        for role, name in self._roles:
            process = Process(
                ["-m", "isthmus.index", "--role", role], ready=f"isthmus index_{name} ready ", env=self._env
            )
            self._processes.append(process)
            self._channels.append(grpc.insecure_channel(process.address))
            self.ready_s.append(round(process.ready_s, 2))
        self.writer = IndexWriterServiceStub(self._channels[0])
        self.searchers = [IndexSearchServiceStub(channel) for channel in self._channels[1:]]
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels:
            channel.close()
        for process in self._processes:
            with process:
                assert process.terminate() == 0

    def create(self, name: str, **more: Any) -> None:
        """Make a collection of two raw spaces."""
        self.writer.CreateCollection(
            index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest(
                name=name,
                image_space=IMAGE_SPACE,
                text_space=TEXT_SPACE,
                image_dimension=DIMENSION,
                text_dimension=_TEXT_DIMENSION,
                request_id=f"create-{name}",
                **more,
            )
        )

    def fill(self) -> int:
        """Upsert, replace and delete items, and replace the aligner; return the revision."""
        images, texts = vectors(1, _COUNT), vectors(2, _COUNT, _TEXT_DIMENSION)
        for start in range(0, _COUNT, 20):
            part = slice(start, start + 20)
            items = [
                index_writer_service_pb2.StoredItem(id=f"{kind}-{number}", modality=modality, pair_key=f"pair-{number}")
                for kind, modality in (("image", _IMAGE), ("text", _TEXT))
                for number in range(start, start + 20)
            ]
            self._upsert(items, images[part], texts[part], request_id=f"upsert-{start}")
        again = [index_writer_service_pb2.StoredItem(id="image-3", modality=_IMAGE)]
        self._upsert(again, vectors(9, 1), None, request_id="again")
        self.writer.DeleteItems(
            index_writer_service_pb2.IndexWriterServiceDeleteItemsRequest(
                collection="things", ids=["image-5", "text-7"], request_id="delete"
            )
        )
        files = heads(1)
        answer = self.writer.SetAligner(
            index_writer_service_pb2.IndexWriterServiceSetAlignerRequest(
                collection="things",
                aligner=common_pb2.AlignerArtefact(manifest=files.manifest, tensors=files.tensors),
                allow_unverified=True,
                request_id="aligner",
            )
        )
        return int(answer.collection.revision)

    def _upsert(self, items: list[Any], images: Any, texts: Any, *, request_id: str) -> None:
        answer = self.writer.UpsertItems(
            index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
                collection="things",
                items=items,
                image_embeddings=_batch(IMAGE_SPACE, images),
                text_embeddings=None if texts is None else _batch(TEXT_SPACE, texts),
                request_id=request_id,
            )
        )
        assert not answer.errors

    def answers(self, searcher: int, revision: int) -> list[Any]:
        """Return everything one searcher says of the collection, times left out."""
        stub = self.searchers[searcher]
        said: list[Any] = []
        for modality, space, queries in (
            (_IMAGE, IMAGE_SPACE, vectors(5, 20)),
            (_TEXT, TEXT_SPACE, vectors(6, 20, _TEXT_DIMENSION)),
        ):
            for item_modality in (_IMAGE, _TEXT):
                found = stub.Search(
                    index_search_service_pb2.SearchRequest(
                        collection="things",
                        modality=modality,
                        space=space,
                        queries=encode_vectors(queries),
                        top_k=_COUNT,
                        item_modality=item_modality,
                        min_revision=revision,
                    ),
                    timeout=20,
                )
                said.append((found.revision, found.space))
                said.extend(
                    [(near.item.id, near.item.revision, near.score) for near in result.neighbors]
                    for result in found.results
                )
        head, *batches = stub.ReadItems(index_search_service_pb2.ReadItemsRequest(collection="things"))
        said.append((head.collection, head.aligner))
        embeddings = {
            item_id: row.tobytes()
            for batch in batches
            for item_id, row in zip(
                batch.ids, decode_vectors(batch.embeddings, field="embeddings", max_rows=1000), strict=True
            )
        }
        return [*said, embeddings]


def _batch(space: str, rows: Any) -> common_pb2.EmbeddingBatch:
    return common_pb2.EmbeddingBatch(space=space, vectors=encode_vectors(rows, half=True))


@pytest.mark.timeout(120)
def test_a_writer_and_two_searchers_answer_as_they_do_from_a_folder(s3: S3Server, tmp_path: Path) -> None:
    """Ids, order, scores and stored vectors are equal bit for bit, before and after a restart of all three.

    Measured on two cores: ten commits in 0.2 s on S3, in 0.1 s in a folder; each process ready after 0.6 to 1.0 s.
    """
    files = heads(0)
    aligner = common_pb2.AlignerArtefact(manifest=files.manifest, tensors=files.tensors)
    said: dict[str, list[list[Any]]] = {}
    for place, store, env, searchers in (
        ("folder", str(tmp_path / "store"), {}, 1),
        ("s3", f"{s3.root}/equal", s3.env, 2),
    ):
        with _Index(store, env, searchers=searchers) as index:
            index.create("things", aligner=aligner)
            started_s = time.monotonic()
            revision = index.fill()
            seconds = time.monotonic() - started_s
            print(f"{place}: ready after {index.ready_s} s, {revision} revisions in {seconds:.2f} s")
            said[place] = [index.answers(searcher, revision) for searcher in range(searchers)]
    with _Index(f"{s3.root}/equal", s3.env) as index:
        print(f"s3: ready again after {index.ready_s} s")
        said["again"] = [index.answers(searcher, 0) for searcher in (0, 1)]
    (expected,) = said["folder"]
    assert expected[0][0] == revision == _COUNT // 20 + 4
    assert said["s3"] == [expected, expected]
    assert said["again"] == [expected, expected]


def test_a_searcher_sees_unasked_what_was_written_and_what_was_deleted(s3: S3Server) -> None:
    """It polls the store; a deleted collection is gone for it, and its objects for the store.

    Measured: 0.1 to 0.6 s after the commit, at an interval of 0.5 s.
    """
    with _Index(f"{s3.root}/followed", s3.env) as index:
        index.create("things")
        index._upsert(
            [index_writer_service_pb2.StoredItem(id="one", modality=_IMAGE)], vectors(0, 1), None, request_id="one"
        )
        ask = index_search_service_pb2.IndexSearchServiceGetItemsRequest(collection="things", ids=["one"])
        written_s = time.monotonic()
        for searcher in index.searchers:
            _wait(lambda searcher=searcher: len(searcher.GetItems(ask, timeout=10).items) == 1)
        print(f"seen after {time.monotonic() - written_s:.2f} s")
        assert any(".lance/data/" in key for key in s3.object_names(f"followed/{TENANT}/"))
        index.writer.DeleteCollection(
            index_writer_service_pb2.IndexWriterServiceDeleteCollectionRequest(name="things", request_id="bye")
        )
        for searcher in index.searchers:
            _wait(lambda searcher=searcher: _code(lambda: searcher.GetItems(ask, timeout=10)) == "NOT_FOUND")
        left = [key for key in s3.object_names(f"followed/{TENANT}/") if not key.endswith("/")]
        assert left
        assert all(key.startswith(f"followed/{TENANT}/catalog.lance/") for key in left)


@pytest.mark.timeout(120)
async def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 lost, 0 phantom, 0 doubled, 0 altered; a request without an answer is repeated and applied once."""
    clients = [WritingClient(number, random.Random(_SEED + number)) for number in range(4)]
    chance = random.Random(_SEED)
    env = {"ISTHMUS_INDEX_STORE_DIR": f"{s3.root}/killed", "ISTHMUS_INDEX_COMPACT_FAN_OUT": "4", **s3.env}
    for kill in range(_KILLS + 1):
        command = ["-m", "isthmus.index", "--role", "writer"]
        with Process(command, ready="isthmus index_writer ready ", env=env) as process:
            if kill == 0:
                with grpc.insecure_channel(process.address) as channel:
                    IndexWriterServiceStub(channel).CreateCollection(
                        index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest(
                            name="things", image_space=SPACE, image_dimension=DIMENSION, request_id="create"
                        )
                    )
            last = kill == _KILLS
            await write_until(process, clients, 0.5 if last else chance.uniform(0.5, 1.5), kill=not last)
            if last:
                assert process.terminate() == 0
    assert all(client.open is None for client in clients)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    async with running_searcher(f"{s3.root}/killed") as searcher:
        reader = await searcher.read_items(TENANT, "things")
        found = [pair async for batch in reader.batches for pair in zip(batch.ids, batch.embeddings, strict=True)]
    requests, repeated = (sum(getattr(client, name) for client in clients) for name in ("requests", "repeated"))
    expected = {item_id: row for client in clients for item_id, row in client.items.items()}
    print(f"seed {_SEED}: {_KILLS} kills, {requests} requests, {repeated} repeated, {len(expected)} items left")
    assert sorted(item_id for item_id, _ in found) == sorted(expected)
    for item_id, row in found:
        np.testing.assert_array_equal(row, expected[item_id])
    assert reader.info.revision == 1 + requests
    assert reader.info.image_count == len(expected) == len(found)


async def test_a_commit_whose_answer_was_lost_is_applied_once(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store made it and said otherwise; the writer tries again, and nothing is there twice."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    rows, store = vectors(0, 3), f"{s3.root}/lost"
    async with running_writer(store) as writer:
        await create(writer)
        s3.lose_answer()
        first = await _until_answered(lambda: upsert(writer, images(["a", "b"]), rows[:2], request="r1"))
        assert (first.revision, first.created_count) == (2, 2)
        assert (await upsert(writer, images(["c"]), rows[2:])).revision == 3
        s3.lose_answer()
        await _until_answered(
            lambda: writer.create_collection(TENANT, "more", settings=ONE_SPACE, aligner=None, request_id="more")
        )
        assert [(info.name, info.revision) for info in await writer.list_collections(TENANT)] == [
            ("more", 1),
            ("things", 3),
        ]
    async with running_writer(store) as writer, running_searcher(store) as searcher:
        assert [info.name for info in await writer.list_collections(TENANT)] == ["more", "things"]
        reader = await searcher.read_items(TENANT, "things")
        assert [batch.ids async for batch in reader.batches] == [("a", "b", "c")]


async def test_a_store_that_does_not_answer_is_unavailable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hang, and no word of what it is called. Measured: 3 to 6 s until refused connections are given up."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    started_s = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        async with running_writer("s3://hidden-bucket/store", store_endpoint="http://127.0.0.1:1"):
            pass
    assert time.monotonic() - started_s < 15
    assert caught.value.reason == "BACKEND_UNAVAILABLE"
    assert "hidden" not in caught.value.message


async def _until_answered(call: Callable[[], Awaitable[T]]) -> T:
    for _ in range(5):
        with contextlib.suppress(UnavailableError):
            return await call()
    pytest.fail("five times no answer")


def _code(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def _wait(condition: Any, *, timeout_s: float = 10.0) -> None:
    due_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < due_s, "nothing happened in time"
        time.sleep(0.02)
