"""The index against a brute-force model of itself: random histories, the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.model import NewItem
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.filters import Filter
from tests.unit.index.filter_model import attributes, filters, holds
from tests.unit.index.support import (
    SPACE,
    TENANT,
    Model,
    create,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_IDS = [f"item-{number}" for number in range(40)]
_VECTORS = vectors(0, 60)
_EXAMPLES = int(os.environ.get("ISTHMUS_TEST_CONGRUENCE_EXAMPLES", "40"))

_ids = st.lists(st.sampled_from(_IDS), min_size=1, max_size=12, unique=True)
_modalities = st.sampled_from(list(Modality))
_item = st.tuples(_modalities, st.integers(0, 59), st.sampled_from(["", "p", "q"]), attributes)
_operation = st.one_of(
    st.tuples(st.just("upsert"), st.dictionaries(st.sampled_from(_IDS), _item, min_size=1, max_size=12)),
    st.tuples(st.just("delete"), _ids),
    st.tuples(
        st.just("search"),
        st.tuples(
            _modalities,
            st.one_of(st.none(), _modalities),
            st.integers(1, 50),
            st.one_of(st.none(), filters, filters),
            st.builds(
                AnswerTerms,
                exclude_ids=st.lists(st.sampled_from(_IDS), max_size=4).map(tuple),
                one_per_pair_key=st.booleans(),
                offset=st.integers(0, 10),
            ),
        ),
    ),
    st.tuples(st.just("get"), _ids),
    st.tuples(st.just("read"), st.booleans()),
    st.tuples(st.just("restart"), st.sampled_from(["writer", "searcher", "both"])),
)


@dataclass
class _Mesh:
    """A writer and a searcher that can be restarted."""

    store_dir: Path
    stack: dict[str, contextlib.AsyncExitStack] = field(default_factory=dict)
    engines: dict[str, Any] = field(default_factory=dict)

    async def start(self, role: str) -> None:
        running: dict[str, Any] = {"writer": running_writer, "searcher": running_searcher}
        self.stack[role] = contextlib.AsyncExitStack()
        self.engines[role] = await self.stack[role].enter_async_context(running[role](self.store_dir))

    async def restart(self, which: str) -> None:
        for role in ("writer", "searcher") if which == "both" else (which,):
            await self.stack[role].aclose()
            await self.start(role)

    @property
    def writer(self) -> WriterEngine:
        engine: WriterEngine = self.engines["writer"]
        return engine

    @property
    def searcher(self) -> SearcherEngine:
        engine: SearcherEngine = self.engines["searcher"]
        return engine


@contextlib.asynccontextmanager
async def _mesh() -> AsyncIterator[_Mesh]:
    with tempfile.TemporaryDirectory() as folder:
        mesh = _Mesh(Path(folder))
        await mesh.start("writer")
        await mesh.start("searcher")
        try:
            await create(mesh.writer)
            yield mesh
        finally:
            for stack in mesh.stack.values():
                await stack.aclose()


async def _check_search(
    mesh: _Mesh,
    model: Model,
    query: Modality,
    wanted: Modality | None,
    top_k: int,
    where: Filter | None = None,
    terms: AnswerTerms | None = None,
) -> None:
    vector = vectors(7, 1)
    result = await mesh.searcher.search(
        TENANT,
        "things",
        modality=query,
        space=SPACE,
        queries=vector,
        top_k=top_k,
        item_modality=wanted,
        where=where,
        terms=terms,
        min_revision=model.revision,
    )
    assert result.revision == model.revision
    (found,) = result.neighbors
    expected: dict[str, float] = {}
    for modality in Modality if wanted is None else (wanted,):
        expected |= model.scores(vector[0], modality)
    if where is not None:
        held = {item_id for item_id, (item, _) in model.items.items() if holds(where, item.attributes)}
        expected = {item_id: score for item_id, score in expected.items() if item_id in held}
    if terms is not None:
        expected = _answers(model, expected, terms)
    # Below 64 items a modality nothing is calibrated: the mixed order is that of the cosine.
    first = 0 if terms is None else terms.offset
    best = sorted(expected.values(), reverse=True)[first : first + top_k]
    np.testing.assert_allclose([neighbor.score for neighbor in found], best, atol=1e-5)
    assert len({neighbor.item.id for neighbor in found}) == len(found)
    for neighbor in found:
        assert abs(expected[neighbor.item.id] - neighbor.score) < 1e-5
        item, _ = model.items[neighbor.item.id]
        assert (neighbor.item.modality, neighbor.item.pair_key) == (item.modality, item.pair_key)


def _answers(model: Model, scores: dict[str, float], terms: AnswerTerms) -> dict[str, float]:
    """Return what is left of items with their scores: the specification."""
    left: dict[str, float] = {}
    keys: set[str] = set()

    def place(item_id: str) -> tuple[float, bool, str]:
        return -scores[item_id], model.items[item_id][0].modality is Modality.TEXT, item_id

    for item_id in sorted(scores.keys() - set(terms.exclude_ids), key=place):
        key = model.items[item_id][0].pair_key
        if not (terms.one_per_pair_key and key in keys):
            left[item_id] = scores[item_id]
        keys |= {key} - {""}
    return left


async def _check_get(mesh: _Mesh, model: Model, ids: list[str]) -> None:
    revision, found = await mesh.searcher.get_items(
        TENANT, "things", ids=ids, include_embeddings=True, min_revision=model.revision
    )
    assert revision == model.revision
    assert [item.id for item in found] == [item_id for item_id in ids if item_id in model.items]
    for item in found:
        np.testing.assert_array_equal(item.embedding, model.items[item.id][1])


async def _check_read(mesh: _Mesh, model: Model, *, paired_only: bool) -> None:
    reader = await mesh.searcher.read_items(TENANT, "things", paired_only=paired_only, min_revision=model.revision)
    read: dict[str, tuple[Modality, str, bytes]] = {}
    async for batch in reader.batches:
        rows = zip(batch.ids, batch.pair_keys, batch.embeddings, strict=True)
        read |= {item_id: (batch.modality, key, row.tobytes()) for item_id, key, row in rows}
    assert read == {
        item_id: (item.modality, item.pair_key, row.tobytes())
        for item_id, (item, row) in model.items.items()
        if item.pair_key or not paired_only
    }


async def _check_counts(mesh: _Mesh, model: Model) -> None:
    info = await mesh.writer.get_collection(TENANT, "things")
    counts = [sum(item.modality is modality for item, _ in model.items.values()) for modality in Modality]
    assert (info.revision, [info.image_count, info.text_count]) == (model.revision, counts)


async def _run(history: list[tuple[str, Any]]) -> None:
    model = Model()
    async with _mesh() as mesh:
        for name, value in history:
            if name == "upsert":
                items = [
                    NewItem(id=key, modality=kind, pair_key=pair, attributes=attributes)
                    for key, (kind, _, pair, attributes) in value.items()
                ]
                rows = _VECTORS[[row for _, row, _, _ in value.values()]]
                result = await upsert(mesh.writer, items, rows)
                model.upsert({item.id: (item, row) for item, row in zip(items, rows, strict=True)})
                assert result.revision == model.revision
            elif name == "delete":
                revision, count = await mesh.writer.delete(TENANT, "things", ids=value, request_id=request_id())
                assert count == model.delete(value)
                assert revision == model.revision
            elif name == "search":
                await _check_search(mesh, model, *value)
            elif name == "get":
                await _check_get(mesh, model, value)
            elif name == "read":
                await _check_read(mesh, model, paired_only=value)
            else:
                await mesh.restart(value)
        await _check_counts(mesh, model)
        await _check_search(mesh, model, Modality.TEXT, None, 50)


@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(history=st.lists(_operation, min_size=5, max_size=30))
def test_the_index_answers_as_a_dictionary_would(history: list[tuple[str, Any]]) -> None:
    """Upserts, deletions, filtered searches, reads and restarts in any order: ids, scores, counts and revisions agree.

    ISTHMUS_TEST_CONGRUENCE_EXAMPLES=300 makes the long version.
    """
    asyncio.run(_run(history))
