"""Durable writes through gRPC while a collection grows, and how far a searcher is behind an acknowledged one."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.client import Client, Item, SpacedVector
from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.index.catalog import StorePaths, read_catalog
from isthmus.index.group_plan import plan_group
from isthmus.index.model import NewItem, SpacedVectors
from isthmus.index.mutations import prepare_upsert
from isthmus.index.state import load_state
from isthmus.index.store import EventTable
from isthmus.index.table import AppendTable
from isthmus.runtime.base.object_store import ObjectStore
from tests.bench.record import Figure
from tests.harness.mesh import start_mesh

__all__ = ["measure"]

GROWN: Final = 200_000
STORED: Final = 1_000_000
MORE: Final = 51_200
DIMENSION: Final = 512
SPACE: Final = "bench@0123456789abcdef"
LAGS: Final = 60
_TARGET_PER_S: Final = 5_000
_LAG_TARGET_MS: Final = 200
_STORE_ROWS: Final = 20_000
_STEP: Final = 20_480


def measure(_: str) -> list[Figure]:
    """Return vectors stored a second from 0 to 200,000 rows and beyond 1,000,000, and the lag of the searcher."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with start_mesh(data) as mesh, Client(mesh.address) as client:
            client.create_collection("writes", image_space=SPACE, image_dimension=DIMENSION)
            figures = [_growth(client, 0, GROWN, f"0 to {GROWN:,} rows stored"), *_lags(client, f"{GROWN:,}")]
        _fill(data / "store", GROWN, STORED)
        started_s = time.perf_counter()
        with start_mesh(data) as mesh, Client(mesh.address) as client:
            ready_s = time.perf_counter() - started_s
            client.search("writes", vector=_query(), timeout_s=120)
            searched_s = time.perf_counter() - started_s
            parts = f"ready after {ready_s:.1f} s, first search answered after {searched_s:.1f} s"
            figures += [_growth(client, STORED, MORE, f"{STORED:,} rows stored", parts), *_lags(client, f"{STORED:,}")]
    return figures


def _growth(client: Client, first: int, count: int, where: str, parts: str = "") -> Figure:
    rates: list[float] = []
    started_s = time.perf_counter()
    for start in range(first, first + count, _STEP):
        step_s = time.perf_counter()
        numbers = range(start, min(start + _STEP, first + count))
        assert client.upsert("writes", _items(numbers)).created == len(numbers)
        rates.append(len(numbers) / (time.perf_counter() - step_s))
    rate = count / (time.perf_counter() - started_s)
    steps = f"in steps of {_STEP:,}: {', '.join(f'{each:.0f}' for each in rates)}"
    return Figure(
        f"durable vectors a second in messages of 256, {where}",
        f"{rate:.0f}/s",
        f"≥ {_TARGET_PER_S:,}/s",
        f"{steps}; {parts}" if parts else steps,
        rate >= _TARGET_PER_S,
    )


def _lags(client: Client, where: str) -> list[Figure]:
    """Measure from an acknowledgement until a read that asks for no revision sees it: at rest, and beside writing."""
    figures = []
    for busy in (False, True):
        stop = threading.Event()
        writing = threading.Thread(target=_write_on, args=(client, stop))
        if busy:
            writing.start()
        lags_ms = sorted(_lag_ms(client, number) for number in range(LAGS))
        stop.set()
        if busy:
            writing.join()
        p95_ms = lags_ms[int(0.95 * LAGS)]
        figures.append(
            Figure(
                f"searcher behind an acknowledged write, {where} rows, {'others write' if busy else 'at rest'}, p95",
                f"{p95_ms:.0f} ms",
                f"≤ {_LAG_TARGET_MS} ms",
                f"p50 {lags_ms[LAGS // 2]:.0f} ms, max {lags_ms[-1]:.0f} ms of {LAGS}",
                p95_ms <= _LAG_TARGET_MS,
            )
        )
    return figures


def _lag_ms(client: Client, number: int) -> float:
    item_id = f"lag-{time.monotonic_ns()}-{number}"
    vector = canonical(np.random.default_rng(number).standard_normal((1, DIMENSION)))[0]
    given = SpacedVector(vector, modality="image", space=SPACE)
    revision = client.upsert("writes", [Item(id=item_id, vector=given)]).revision
    acknowledged_s = time.perf_counter()
    while client.get_items("writes", [item_id], min_revision=0).revision < revision:
        time.sleep(0.001)
    return 1_000 * (time.perf_counter() - acknowledged_s)


def _write_on(client: Client, stop: threading.Event) -> None:
    turn = 0
    while not stop.is_set():
        turn += 1
        client.upsert("writes", _items(range(10**9 + turn * 1_024, 10**9 + (turn + 1) * 1_024)))


def _vectors(first: int, count: int) -> NDArray[np.float32]:
    return canonical(np.random.default_rng(first).standard_normal((count, DIMENSION), dtype=np.float32))


def _items(numbers: range) -> Iterator[Item]:
    for number, vector in zip(numbers, _vectors(numbers.start, len(numbers)), strict=True):
        yield Item(id=f"item-{number}", vector=SpacedVector(vector, modality="image", space=SPACE))


def _query() -> SpacedVector:
    return SpacedVector(_vectors(0, 1)[0], modality="image", space=SPACE)


def _fill(store: Path, first: int, last: int) -> None:
    """Store items as the writer would, in large commits, while no mesh runs."""
    paths = StorePaths.at(store, ObjectStore())
    (tenant,) = paths.tenants()
    entry = read_catalog(AppendTable.open(paths.catalog(tenant), durable=False).view())["writes"]
    table = EventTable.open(paths.events(tenant, entry.uuid), durable=True)
    state = load_state(table.view(), entry.settings, request_ids_count=1_000)
    for start in range(first, last, _STORE_ROWS):
        count = min(_STORE_ROWS, last - start)
        items = [NewItem(id=f"item-{number}", modality=Modality.IMAGE) for number in range(start, start + count)]
        given = {Modality.IMAGE: SpacedVectors(SPACE, _vectors(start, count))}
        mutation, failures = prepare_upsert(items, given, settings=entry.settings, request_id=f"fill-{start}")
        assert not failures
        plan = plan_group(state, [mutation], payload_at=lambda _: b"")
        table.append(plan.events)
        state.adopt(plan)
