"""Embedding, searching and storing at the same time, in one process, in either order of import."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.client import Client, Item
from tests.harness import metrics
from tests.harness.pictures import jpeg
from tests.harness.process import Process

SECONDS = 60.0 if os.environ.get("ISTHMUS_TEST_LONG") else 12.0
"""For each of the two orders; the long variant takes a minute."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("order", ["torch, faiss", "faiss, torch"])
def test_no_crash_under_mixed_load_with_both_import_orders(tmp_path: Path, order: str) -> None:
    """Torch and FAISS each bring an OpenMP runtime; neither order of loading them crashes the mesh under load."""
    port = metrics.free_port()
    program = (
        f"import {order}, sys; from isthmus.cli.main import app; "
        f"sys.argv = ['isthmus', 'up', '--data-dir', {str(tmp_path / 'data')!r}, '--port', '0', "
        f"'--metrics-port', '{port}']; app()"
    )
    with Process(["-c", program], ready="isthmus ready ") as mesh:
        counts = _load(mesh.address)
        lag_p99_s = metrics.quantile(metrics.read(port)["isthmus_event_loop_lag_seconds_bucket"], 0.99)
        print(f"{order}: {counts} in {SECONDS:g} s, event loop lag p99 <= {lag_p99_s * 1000:g} ms")
        assert mesh.returncode is None
        assert all(counts.values())
        assert mesh.terminate() == 0


def _load(address: str) -> dict[str, int]:
    with Client(address) as client:
        client.create_collection("busy")
        revision = client.upsert("busy", [Item(id=f"i{n}", image=jpeg(n)) for n in range(16)]).revision
    counts = {"embed": 0, "search": 0, "upsert": 0}
    failures: list[BaseException] = []
    end_s = time.monotonic() + SECONDS

    def embed(client: Client, turn: int) -> None:
        client.embed(images=[jpeg(10_000 + turn * 8 + n) for n in range(8)])

    def search(client: Client, turn: int) -> None:
        assert client.search("busy", text=f"blocks {turn}", top_k=5, min_revision=revision).neighbors

    def upsert(client: Client, turn: int) -> None:
        client.upsert("busy", [Item(id=f"t{turn}-{n}", text=f"text {turn} {n}") for n in range(8)])

    def worker(name: str, step: Callable[[Client, int], None]) -> None:
        try:
            with Client(address) as client:
                while time.monotonic() < end_s:
                    step(client, counts[name])
                    counts[name] += 1
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(step.__name__, step)) for step in (embed, search, upsert)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return counts
