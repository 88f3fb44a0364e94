"""`isthmus up`: cold start, first search, clean end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from isthmus.client import Client, Item
from tests.harness.mesh import start_mesh
from tests.harness.pictures import jpeg


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(120)
def test_first_search_within_twenty_seconds_and_a_clean_end(tmp_path: Path) -> None:
    """A cold start answers a search within 20 s; SIGTERM then ends it with 0 and leaves no child behind."""
    started_s = time.monotonic()
    with start_mesh(tmp_path / "data") as mesh:
        assert mesh.ready_line == f"isthmus ready {mesh.address}"
        assert mesh.address.startswith("127.0.0.1:")
        with Client(mesh.address) as client:
            client.create_collection("first")
            client.upsert("first", [Item(id="a", image=jpeg(1)), Item(id="b", text="coloured blocks")])
            assert client.search("first", text="blocks", modality="image").neighbors[0].item.id == "a"
        first_search_s = time.monotonic() - started_s
        rest_mib = mesh.rss_mib()
        children = mesh.children()
        assert children, "the embedded Redis is a child"
        ended_s = time.monotonic()
        assert mesh.terminate() == 0
        ended_s = time.monotonic() - ended_s
        assert not any(_alive(pid) for pid in children)
    print(f"first search after {first_search_s:.1f} s, at rest {rest_mib:.0f} MiB, ended in {ended_s:.1f} s")
    assert first_search_s < 20


@pytest.mark.timeout(120)
def test_a_second_mesh_in_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    """One data directory belongs to one mesh: the second one says so and ends."""
    with start_mesh(tmp_path / "data"), pytest.raises(RuntimeError, match="another mesh"):
        start_mesh(tmp_path / "data")


@pytest.mark.timeout(120)
def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """Items, attributes, pair keys and the active aligner are there again, at the same revision."""
    with start_mesh(tmp_path / "data") as mesh, Client(mesh.address) as client:
        client.create_collection("kept")
        items = [
            Item(id=f"i{n}", image=jpeg(n), pair_key=f"p{n}", attributes={"n": n, "even": n % 2 == 0})
            for n in range(20)
        ]
        client.upsert("kept", items)
        client.delete("kept", ["i3"])
        before = client.get_collection("kept")
        expected = client.search("kept", image=jpeg(7), top_k=19)
        assert mesh.terminate() == 0
    with start_mesh(tmp_path / "data") as mesh, Client(mesh.address) as client:
        assert client.get_collection("kept") == before
        again = client.search("kept", image=jpeg(7), top_k=19, min_revision=before.revision)
        assert [(n.item, n.score) for n in again.neighbors] == [(n.item, n.score) for n in expected.neighbors]
        assert again.neighbors[0].item.attributes == {"n": 7, "even": False}
        assert before.aligner
