"""One contract, whatever starts the mesh: all in one process, six plain processes, or Ray Serve.

Ray is started by `isthmus up --engine ray`: `serve.run`s with its gRPC port and HAProxy on, replicas in processes of
their own. `ISTHMUS_TEST_RAY_CLASSIC=1` puts Ray's own proxy in HAProxy's place.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from isthmus.client import Client, FailedPreconditionError, Item, NotFoundError, SpacedVector
from tests.harness.mesh import start_mesh
from tests.harness.pictures import jpeg
from tests.harness.processes import start_processes
from tests.harness.ray_mesh import has_haproxy, is_classic, replicas, start_ray_mesh

pytestmark = pytest.mark.timeout(180)

APPLICATIONS = {"image_encoder", "text_encoder", "alignment", "index_writer", "index_search"}


@pytest.fixture(scope="module", params=["embedded", "processes", "ray"])
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a warm mesh, for each engine in turn."""
    data_dir = tmp_path_factory.mktemp("data")
    if request.param == "embedded":
        with start_mesh(data_dir) as process, Client(process.address) as client:
            yield client
        return
    if request.param == "ray":
        with start_ray_mesh(data_dir) as process, Client(process.address) as client:
            pids = replicas(process.pid)
            assert set(pids) == APPLICATIONS
            assert len({process.pid, *(pid for found in pids.values() for pid in found)}) == 6
            assert has_haproxy(process.pid) is not is_classic()
            yield client
            assert process.terminate() == 0
        return
    with start_processes(data_dir) as processes:
        assert len({process.pid for process in processes.values()} - {os.getpid()}) == 6
        with Client(processes["gateway"].address) as client:
            yield client
        assert {name: process.terminate() for name, process in reversed(processes.items())} == dict.fromkeys(
            processes, 0
        )


@pytest.fixture
def collection(mesh: Client) -> Iterator[str]:
    """A collection of its own for a test, removed afterwards."""
    name = f"c{secrets.token_hex(4)}"
    mesh.create_collection(name)
    yield name
    mesh.delete_collection(name)


def test_every_part_answers(mesh: Client) -> None:
    """Status names the encoders, writer, searcher, alignment, the default aligner and its licence."""
    status = mesh.status()
    assert [encoder.serving for encoder in status.encoders] == [True, True]
    assert status.index_writer_serving
    assert status.index_search_serving
    assert status.alignment_serving
    assert status.default_aligner.startswith("embedded-heads@")
    assert "research and education only" in " ".join(status.notices)


def test_what_is_stored_is_found_in_both_modalities(mesh: Client, collection: str) -> None:
    """Images and texts lie side by side; a client reads its own writes; an item finds itself first."""
    pictures = [Item(id=f"i{n}", image=jpeg(n), pair_key=f"p{n}") for n in range(8)]
    mesh.upsert(collection, [*pictures, Item(id="t", text="coloured blocks", attributes={"lang": "en"})])
    by_image = mesh.search(collection, image=jpeg(5), modality="image", top_k=3)
    assert by_image.neighbors[0].item.id == "i5"
    assert by_image.neighbors[0].score == pytest.approx(1, abs=1e-3)
    by_text = mesh.search(collection, text="coloured blocks", modality="text")
    assert [(n.item.id, n.item.attributes) for n in by_text.neighbors] == [("t", {"lang": "en"})]
    mixed = mesh.search(collection, text="coloured blocks", top_k=9)
    assert {n.item.modality for n in mixed.neighbors} == {"image", "text"}
    assert mixed.space.startswith("embedded-heads@")
    other = mesh.search(collection, item_id="i5", modality="image", top_k=8)
    assert "i5" not in {n.item.id for n in other.neighbors}


def test_a_deleted_item_is_gone(mesh: Client, collection: str) -> None:
    """A delete counts what was there and is seen by the next read."""
    mesh.upsert(collection, [Item(id="a", text="one"), Item(id="b", text="two")])
    assert mesh.delete(collection, ["a", "not there"]).deleted == 1
    assert [item.id for item in mesh.get_items(collection, ["a", "b"]).items] == ["b"]


def test_a_request_id_is_applied_once(mesh: Client, collection: str) -> None:
    """The same mutation sent twice moves the revision once."""
    items = [Item(id="a", text="once only")]
    first = mesh.upsert(collection, items, request_id="the-same")
    assert mesh.upsert(collection, items, request_id="the-same").revision == first.revision


def test_vectors_of_another_space_are_refused(mesh: Client, collection: str) -> None:
    """A vector that was made by another encoder is refused, as an item and as a query, with both ids."""
    stranger = SpacedVector(np.ones(1280), modality="image", space="other@0123456789abcdef")
    summary = mesh.upsert(collection, [Item(id="x", vector=stranger)])
    assert [error.reason for error in summary.errors] == ["SPACE_MISMATCH"]
    with pytest.raises(FailedPreconditionError) as caught:
        mesh.search(collection, vector=stranger)
    assert caught.value.reason == "SPACE_MISMATCH"
    assert "other@0123456789abcdef" in caught.value.metadata.values()


def test_an_unknown_collection_is_not_found(mesh: Client) -> None:
    """A name that is not there is NOT_FOUND for every call that names one."""
    for call in (
        lambda: mesh.get_collection("nowhere"),
        lambda: mesh.search("nowhere", text="a"),
        lambda: mesh.delete("nowhere", ["a"]),
        lambda: mesh.evaluate("nowhere"),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.reason == "COLLECTION_NOT_FOUND"


def test_an_aligner_is_fitted_and_promoted_without_encoding(mesh: Client) -> None:
    """In one raw space `center` can be fitted to a collection and promoted; nothing is encoded again."""
    rng = np.random.default_rng(0)
    space = "own@0123456789abcdef"
    mesh.create_collection("own", image_space=space, text_space=space, image_dimension=32, text_dimension=32)
    shared = rng.standard_normal((100, 32))
    for modality, shift in (("image", 1.0), ("text", -1.0)):
        vectors = shared + shift
        mesh.upsert(
            "own",
            [
                Item(id=f"{modality}{n}", vector=SpacedVector(v, modality=modality, space=space), pair_key=str(n))  # type: ignore[arg-type]
                for n, v in enumerate(vectors)
            ],
        )
    before, encoded = mesh.evaluate("own"), mesh.status().encoders
    aligner = mesh.fit_aligner("own", aligner_id="own-center", method="center")
    promoted = mesh.promote_aligner("own", aligner.aligner)  # the guard is kept: centring mends this gap for nothing
    after = mesh.evaluate("own")
    assert promoted.aligner == after.aligner == aligner.aligner
    assert after.t2i.r1 >= before.t2i.r1
    # A probe's dummy is encoded now and then; the collection has 200 items.
    for now, then in zip(mesh.status().encoders, encoded, strict=True):
        assert now.encoded_items - then.encoded_items < 50
    mesh.delete_collection("own")


def test_evaluation_through_search_agrees_with_the_exact_one(mesh: Client, collection: str) -> None:
    """Both ways of judging give the same recall on a collection whose structures are exact."""
    pictures = [Item(id=f"i{n}", image=jpeg(n), pair_key=f"p{n}") for n in range(12)]
    texts = [Item(id=f"t{n}", text=f"picture of blocks {n}", pair_key=f"p{n}") for n in range(12)]
    mesh.upsert(collection, [*pictures, *texts])
    exact, searched = mesh.evaluate(collection), mesh.evaluate(collection, through_search=True)
    assert (exact.pairs, exact.through_search, searched.through_search) == (12, False, True)
    assert (exact.t2i, exact.i2t) == (searched.t2i, searched.i2t)
