"""The store of artefacts: tenants apart, newest last, shipped ones for all, nothing half there."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from isthmus.alignment.artefact_store import ArtefactStore
from isthmus.core import ArtefactError
from isthmus.core.aligners import TENSORS_NAME, Artefact, CenterAligner

SPACE = "clip@00112233445566aa"


def artefact(seed: int, aligner_id: str = "mine") -> Artefact:
    """Return a small artefact; another seed gives another revision."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 4, 6)).astype(np.float32)
    return CenterAligner.fit(x, y, aligner_id=aligner_id, space=SPACE, created_by="a test", seed=seed)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder with one shipped artefact, `given`."""
    artefact(0, "given").save(tmp_path / "shipped" / "a-folder")
    return tmp_path / "shipped"


@pytest.fixture
def store(tmp_path: Path, shipped: Path) -> ArtefactStore:
    """An empty store beside the shipped artefact."""
    return ArtefactStore(tmp_path / "own", shipped=shipped)


def revision(found: Artefact | None) -> str | None:
    """Return the revision of what was found."""
    return None if found is None else found.revision


def test_a_kept_artefact_is_found_by_name_and_by_revision(store: ArtefactStore) -> None:
    """The name alone gives the newest revision."""
    for seed in (1, 2):
        store.keep("acme", artefact(seed), request_id=f"r{seed}")
    assert revision(store.find("acme", "mine")) == artefact(2).revision
    assert revision(store.find("acme", "mine", artefact(1).revision)) == artefact(1).revision


def test_what_is_not_there_is_none(store: ArtefactStore) -> None:
    """Neither an unknown name nor an unknown revision is an error here."""
    store.keep("acme", artefact(1), request_id="r")
    assert store.find("acme", "other") is None
    assert store.find("acme", "mine", "0" * 16) is None
    assert store.find("acme", "given", "0" * 16) is None


def test_tenants_do_not_see_one_another(store: ArtefactStore) -> None:
    """One folder a tenant, and no look into another's."""
    store.keep("acme", artefact(1), request_id="r")
    assert store.find("zenith", "mine") is None
    assert [found.manifest.aligner_id for found in store.newest("zenith")] == ["given"]
    assert store.brought_by("zenith", "mine", "r") is None


def test_everyone_sees_the_shipped_artefacts(store: ArtefactStore) -> None:
    """By name and by revision, without a file of their own."""
    for tenant in ("acme", "zenith"):
        assert revision(store.find(tenant, "given")) == artefact(0, "given").revision
        assert revision(store.find(tenant, "given", artefact(0, "given").revision)) is not None


def test_a_tenants_own_is_newer_than_a_shipped_one_of_the_same_name(store: ArtefactStore) -> None:
    """A re-trained aligner takes the name; the shipped revision stays within reach."""
    mine = artefact(5, "given")
    store.keep("acme", mine, request_id="r")
    assert revision(store.find("acme", "given")) == mine.revision
    assert revision(store.find("acme", "given", artefact(0, "given").revision)) is not None
    assert revision(store.find("zenith", "given")) == artefact(0, "given").revision


def test_keeping_the_same_artefact_again_changes_nothing(store: ArtefactStore, tmp_path: Path) -> None:
    """An older revision kept again does not become the newest, and a shipped one is not copied."""
    for seed in (1, 2, 1):
        store.keep("acme", artefact(seed), request_id=f"r{seed}")
    assert revision(store.find("acme", "mine")) == artefact(2).revision
    store.keep("acme", artefact(0, "given"), request_id="r")
    assert not (tmp_path / "own" / "acme" / "given").exists()


def test_everything_survives_a_restart(store: ArtefactStore, tmp_path: Path, shipped: Path) -> None:
    """Names, order and the requests that brought them are on disk."""
    for seed in (2, 1):
        store.keep("acme", artefact(seed), request_id=f"r{seed}")
    again = ArtefactStore(tmp_path / "own", shipped=shipped)
    assert revision(again.find("acme", "mine")) == artefact(1).revision
    assert again.brought_by("acme", "mine", "r2") == artefact(2).revision
    assert [found.manifest.aligner_id for found in again.newest("acme")] == ["given", "mine"]


def test_a_damaged_artefact_is_refused_and_left_out_of_lists(store: ArtefactStore, tmp_path: Path) -> None:
    """It is never applied; other aligners are not hidden by it."""
    store.keep("acme", artefact(1), request_id="r")
    path = tmp_path / "own" / "acme" / "mine" / artefact(1).revision / TENSORS_NAME
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtefactError):
        store.find("acme", "mine")
    assert [found.manifest.aligner_id for found in store.newest("acme")] == ["given"]


def test_keeping_it_again_mends_a_damaged_artefact(store: ArtefactStore, tmp_path: Path) -> None:
    """The bytes that come verify; those on disk do not."""
    store.keep("acme", artefact(1), request_id="r")
    path = tmp_path / "own" / "acme" / "mine" / artefact(1).revision / TENSORS_NAME
    path.write_bytes(b"")
    store.keep("acme", artefact(1), request_id="r")
    assert revision(store.find("acme", "mine")) == artefact(1).revision


def test_a_folder_left_by_a_crash_is_not_an_artefact(store: ArtefactStore, tmp_path: Path) -> None:
    """Between the folder and its entry in the list nothing was promised; keeping it then works."""
    artefact(1).save(tmp_path / "own" / "acme" / "mine" / artefact(1).revision)
    assert store.find("acme", "mine") is None
    store.keep("acme", artefact(1), request_id="r")
    assert store.find("acme", "mine") is not None


def test_a_damaged_list_is_an_error_and_no_empty_list(store: ArtefactStore, tmp_path: Path) -> None:
    """Forgetting a tenant's aligners silently would be worse than refusing."""
    store.keep("acme", artefact(1), request_id="r")
    (tmp_path / "own" / "acme" / "mine" / "arrivals.json").write_text("[{]")
    with pytest.raises(ArtefactError, match="list of its revisions is damaged"):
        store.find("acme", "mine")


def test_concurrent_keeps_lose_nothing(store: ArtefactStore) -> None:
    """Eight threads keep eight revisions; all are there."""
    threads = [
        threading.Thread(target=store.keep, args=("acme", artefact(seed)), kwargs={"request_id": f"r{seed}"})
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.find("acme", "mine", artefact(seed).revision) for seed in range(8))


def test_a_damaged_shipped_artefact_stops_the_start(shipped: Path, tmp_path: Path) -> None:
    """A broken installation is said at once, not at the first search."""
    (shipped / "a-folder" / TENSORS_NAME).write_bytes(b"")
    with pytest.raises(ArtefactError):
        ArtefactStore(tmp_path / "own", shipped=shipped)


def test_two_shipped_artefacts_of_one_name_stop_the_start(shipped: Path, tmp_path: Path) -> None:
    """Which of them a name means must not depend on the order of folders."""
    artefact(1, "given").save(shipped / "b-folder")
    with pytest.raises(ArtefactError, match="two shipped artefacts have one name"):
        ArtefactStore(tmp_path / "own", shipped=shipped)


def test_no_shipped_folder_is_no_error(shipped: Path, tmp_path: Path) -> None:
    """A build without shipped artefacts still works."""
    shutil.rmtree(shipped)
    assert ArtefactStore(tmp_path / "own", shipped=shipped).newest("acme") == []
