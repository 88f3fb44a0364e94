"""Artefacts in an object store: what a folder promises, for several processes at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from isthmus.alignment.artefact_store import ArtefactStore
from isthmus.core import ArtefactError
from isthmus.core.aligners import MANIFEST_NAME, TENSORS_NAME, Artefact, CenterAligner
from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.base.object_store import ObjectStore
from tests.harness.s3_server import S3Server, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """One server; each test has a prefix of its own."""
    with running_s3() as server:
        yield server


@pytest.fixture
def root(s3: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """An empty place in it."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return f"{s3.root}/{request.node.name}"


def _store(root: str, tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(root, shipped=tmp_path / "nothing-shipped")


def _artefact(seed: int) -> Artefact:
    x, y = np.random.default_rng(seed).normal(size=(2, 4, 6)).astype(np.float32)
    space = "clip@00112233445566aa"
    return CenterAligner.fit(x, y, aligner_id="mine", space=space, created_by="a test", seed=seed)


def test_what_one_process_keeps_another_finds_bit_for_bit(root: str, tmp_path: Path) -> None:
    """By name and by revision; the newest is the last that came; tenants are apart."""
    ours, theirs = _store(root, tmp_path), _store(root, tmp_path)
    for seed in (1, 2):
        ours.keep("acme", _artefact(seed), request_id=f"r:{seed}")
    newest = theirs.find("acme", "mine")
    assert newest is not None
    assert newest.to_bytes() == _artefact(2).to_bytes()
    older = theirs.find("acme", "mine", _artefact(1).revision)
    assert older is not None
    assert older.revision == _artefact(1).revision
    assert theirs.brought_by("acme", "mine", "r:1") == _artefact(1).revision
    assert theirs.names("acme") == ["mine"]
    assert [found.revision for found in theirs.newest("acme")] == [_artefact(2).revision]
    assert theirs.find("other", "mine") is None
    assert theirs.names("other") == []


def test_a_revision_arrives_once(root: str, tmp_path: Path) -> None:
    """Kept again it is no newer than it was, and belongs to the request that brought it first."""
    store = _store(root, tmp_path)
    for seed, request in ((1, "first"), (2, "second"), (1, "third")):
        store.keep("acme", _artefact(seed), request_id=request)
    newest = store.find("acme", "mine")
    assert newest is not None
    assert newest.revision == _artefact(2).revision
    assert store.brought_by("acme", "mine", "third") is None


def test_processes_that_keep_at_once_lose_nothing(root: str, tmp_path: Path) -> None:
    """Eight stores, four artefacts, each brought by two of them."""
    stores = [_store(root, tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        keeping = [
            pool.submit(store.keep, "acme", _artefact(number // 2), request_id=f"r{number}")
            for number, store in enumerate(stores)
        ]
        for kept in keeping:
            kept.result()
    for seed in range(4):
        assert stores[0].find("acme", "mine", _artefact(seed).revision) is not None


def test_a_later_arrival_is_the_newest_whatever_its_clock_says(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines' clocks differ; the order in which artefacts came does not follow them."""
    store = _store(root, tmp_path)
    store.keep("acme", _artefact(1), request_id="r1")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    store.keep("acme", _artefact(2), request_id="r2")
    newest = store.find("acme", "mine")
    assert newest is not None
    assert newest.revision == _artefact(2).revision


@pytest.mark.parametrize("name", [MANIFEST_NAME, TENSORS_NAME])
@pytest.mark.parametrize("data", [b"", b"damaged", None])
def test_a_damaged_or_missing_file_is_found_out_and_mended(
    root: str, tmp_path: Path, name: str, data: bytes | None
) -> None:
    """It is refused and left out of lists until the artefact is brought again."""
    store = _store(root, tmp_path)
    store.keep("acme", _artefact(1), request_id="r1")
    files, path = ObjectStore().file_system(f"{root}/acme/mine/{_artefact(1).revision}/{name}")
    assert isinstance(files, fs.S3FileSystem)
    if data is None:
        files.delete_file(path)
    else:
        with files.open_output_stream(path) as file:
            file.write(data)
    with pytest.raises(ArtefactError):
        store.find("acme", "mine")
    assert store.newest("acme") == []
    store.keep("acme", _artefact(1), request_id="r2")
    assert store.find("acme", "mine") is not None


def test_without_its_arrival_an_artefact_is_not_there(root: str, tmp_path: Path) -> None:
    """A crash came between the files and the arrival."""
    store = _store(root, tmp_path)
    store.keep("acme", _artefact(1), request_id="r1")
    files, path = ObjectStore().file_system(f"{root}/acme/mine/arrivals")
    files.delete_dir_contents(path)
    assert store.find("acme", "mine") is None
    assert store.newest("acme") == []


def test_a_store_that_does_not_answer_is_unavailable(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon, and without a word of where it was. Measured: 3 s of tries."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    store = ArtefactStore(
        "s3://hidden-bucket/x", reach=ObjectStore(endpoint="http://127.0.0.1:1"), shipped=tmp_path / "nothing-shipped"
    )
    with pytest.raises(UnavailableError) as caught:
        store.find("acme", "mine")
    assert caught.value.reason == "BACKEND_UNAVAILABLE"
    assert "hidden-bucket" not in caught.value.message
