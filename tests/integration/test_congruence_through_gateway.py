"""The whole way of a search, client to index and back, against a brute-force model: the same answers throughout."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from isthmus.client import AsyncClient, Example, Item, Neighbor, SpacedVector
from isthmus.client.search.where import Filter as ClientFilter
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.modality import Modality
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.filters import AllOf, AnyOf, Between, End, Exists, Filter, NoneOf, OneOf, Prefix
from isthmus.runtime.rpc.filters import filter_message
from tests.harness.index_model import Asked, IndexModel, Stored
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import gateway_mesh
from tests.unit.index.support import DIMENSION, SPACE, center, vectors

_OPERATIONS: Final = int(os.environ.get("ISTHMUS_TEST_CONGRUENCE_OPERATIONS", "300"))
_SEED: Final = int(os.environ.get("ISTHMUS_TEST_SEED", random.SystemRandom().randrange(2**32)))
_ROWS: Final = vectors(0, 150)
"""Fewer than there are upserts: equal vectors, and so equal scores, happen."""
_IDS: Final = {modality: [f"{modality.value}-{number:02d}" for number in range(63)] for modality in Modality}
"""Below 64 items of a modality no calibration is estimated, and the merged order is that of the cosine."""
_NAMES: Final = ("size", "name", "new")
_GAP_MIN: Final = 1e-6
"""Different scores that are nearer are beyond what float32 tells apart: such a question is not asked."""

_ALIGNERS: Final = (center(1), center(2), center(3))


def _value(rng: random.Random) -> AttributeScalar:
    text = rng.choice(["", "a", "ab", "b", "z\uffff"])
    values: list[AttributeScalar] = [rng.randrange(6), rng.random() * 6, text, rng.random() < 0.5]
    return rng.choice(values)


def _where(rng: random.Random, depth: int = 2) -> Filter:
    if depth and rng.random() < 0.4:
        parts = tuple(_where(rng, depth - 1) for _ in range(rng.randint(1, 3)))
        combined: list[Filter] = [AllOf(parts), AnyOf(parts), NoneOf(parts)]
        return rng.choice(combined)
    name = rng.choice(_NAMES)
    ends = sorted([rng.random() * 6, rng.random() * 6])
    low, high = (End(end, closed=rng.random() < 0.5) for end in ends)
    conditions: list[Filter] = [
        OneOf(name, tuple(_value(rng) for _ in range(rng.randint(1, 4)))),
        Between(name, low, None),
        Between(name, low, high),
        Prefix(name, rng.choice(["", "a"])),
        Exists(name),
    ]
    return rng.choice(conditions)


class _History:
    """Random operations on the collection `things`, and on its model.

    Args:
        client: Of the gateway.
        folder: For artefacts.
    """

    def __init__(self, client: AsyncClient, folder: Path) -> None:
        self.rng = random.Random(_SEED)
        self.model = IndexModel()
        self.answers = 0
        self._client = client
        self._folder = folder
        self._before: list[Any] = []

    async def upsert(self) -> None:
        """Store new items, replace some and repeat some as they are, in one batch."""
        rng = self.rng
        given: dict[str, Stored] = {}
        for _ in range(rng.choice([1, 3, 10, 30])):
            modality = rng.choice(list(Modality))
            attributes = {name: _value(rng) for name in _NAMES if rng.random() < 0.7}
            key = rng.choice(["", "p", "q", "r", "s"])
            given[rng.choice(_IDS[modality])] = Stored(
                modality, _ROWS[rng.randrange(len(_ROWS))].tobytes(), key, attributes
            )
        for item_id in rng.sample(sorted(self.model.items), min(len(self.model.items), rng.randrange(3))):
            given[item_id] = self.model.items[item_id]
        items = [
            Item(
                id=item_id,
                vector=SpacedVector(item.row, modality=item.modality.value, space=SPACE),
                pair_key=item.pair_key,
                attributes=dict(item.attributes),
            )
            for item_id, item in given.items()
        ]
        created = len(given.keys() - self.model.items.keys())
        self.model.upsert(given)
        summary = await self._client.upsert("things", items)
        assert (summary.created, summary.revision) == (created, self.model.revision)

    async def delete(self) -> None:
        """Delete items, some of which are not there."""
        ids = self.rng.sample([*_IDS[Modality.IMAGE], *_IDS[Modality.TEXT]], self.rng.randint(1, 12))
        count = self.model.delete(ids)
        result = await self._client.delete("things", ids)
        assert (result.deleted, result.revision) == (count, self.model.revision)

    async def promote(self) -> None:
        """Put another aligner in front of the collection, or go back to the one before."""
        others = [files for files in _ALIGNERS if not self._before or files is not self._before[-1]]
        if len(self._before) > 1 and self.rng.random() < 0.5:
            self._before.pop()
            collection = await self._client.rollback_aligner("things")
        else:
            self._before.append(self.rng.choice(others))
            artefact = Artefact.from_bytes(self._before[-1].manifest, self._before[-1].tensors)
            folder = self._folder / artefact.revision
            artefact.save(folder)
            aligner = await self._client.import_aligner(folder)
            collection = await self._client.promote_aligner("things", aligner.aligner, allow_unverified=True)
        active = self._before[-1]
        self.model.aligner = load_aligner(Artefact.from_bytes(active.manifest, active.tensors))
        self.model.revision += 1
        assert collection.revision == self.model.revision

    async def search(self) -> None:
        """Ask something, in one piece or page by page."""
        question, query = self._question()
        expected = self.model.answers(question)
        if any(0 < one - other < _GAP_MIN for (_, one), (_, other) in itertools.pairwise(expected)):
            return
        top_k = self.rng.choice([1, 5, 20, 130])
        pages, token = self.rng.choice([1, 1, 3]), ""
        found: list[Neighbor] = []
        for _ in range(pages):
            result = await self._client.search(
                "things", **query, top_k=top_k, page_token=token or None, min_revision=self.model.revision
            )
            assert result.revision == self.model.revision
            found += result.neighbors
            token = result.next_page_token
            if not token:
                assert len(found) == len(expected)
                break
        best = expected[: top_k * pages]
        assert [neighbor.id for neighbor in found] == [item_id for item_id, _ in best]
        scores = np.array([neighbor.score for neighbor in found])
        np.testing.assert_allclose(scores, np.array([score for _, score in best]), atol=1e-5)
        self.answers += len(found)

    def _question(self) -> tuple[Asked, dict[str, Any]]:
        """Return a search for the model, and the same for the client."""
        rng, items = self.rng, self.model.items
        query: dict[str, Any] = {}
        excluded: frozenset[str] = frozenset()
        chosen = rng.choice(["vector", "item_id", "examples"] if items else ["vector"])
        if chosen == "vector":
            examples = [(rng.choice(list(Modality)), vectors(rng.randrange(2**31), 1)[0], 1.0)]
            query["vector"] = SpacedVector(examples[0][1], modality=examples[0][0].value, space=SPACE)
        elif chosen == "item_id":
            query["item_id"] = rng.choice(sorted(items))
            examples = [(items[query["item_id"]].modality, items[query["item_id"]].row, 1.0)]
            excluded = frozenset([query["item_id"]])
        else:
            excluded = frozenset(rng.sample(sorted(items), min(len(items), rng.randint(1, 3))))
            weights = {item_id: rng.choice([1.0, 2.0, -0.5]) for item_id in sorted(excluded)}
            examples = [(items[key].modality, items[key].row, weight) for key, weight in weights.items()]
            examples.append((Modality.TEXT, vectors(rng.randrange(2**31), 1)[0], 1.5))
            asked = SpacedVector(examples[-1][1], modality="text", space=SPACE)
            query["examples"] = [
                *(Example(item_id=key, weight=weight) for key, weight in weights.items()),
                Example(vector=asked, weight=1.5),
            ]
        modality = rng.choice([None, *Modality])
        where = _where(rng) if rng.random() < 0.6 else None
        by_pair_key = rng.random() < 0.3
        query["modality"] = "any" if modality is None else modality.value
        query["where"] = None if where is None else ClientFilter(filter_message(where))
        query["group_by"] = "pair_key" if by_pair_key else None
        return Asked(examples, modality, where, by_pair_key, excluded), query


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[_History]:
    """An empty collection in one raw space, behind a gateway."""
    image, text = (DummyEncoder(modality, space=SPACE, dimension=DIMENSION) for modality in Modality)
    async with (
        gateway_mesh(data_dir=tmp_path, image=image, text=text) as mesh,
        AsyncClient(mesh.gateway.address) as client,
    ):
        await client.create_collection("things")
        yield _History(client, tmp_path / "artefact")


async def test_300_operations_and_searches_answer_as_the_model_does(history: _History) -> None:
    """The same ids in the same order, scores to 1e-5, and the same revisions.

    Upserts, replacements, deletions, promotions and rollbacks between searches by vector, by item and by weighted
    examples, with filters, by pair key and page by page. ISTHMUS_TEST_SEED repeats a history,
    ISTHMUS_TEST_CONGRUENCE_OPERATIONS makes it longer.
    """
    print(f"seed {_SEED}")
    await history.upsert()
    await history.promote()
    steps = [history.upsert] * 5 + [history.delete] * 3 + [history.promote] + [history.search] * 16
    for number in range(_OPERATIONS):
        step = history.rng.choice(steps)
        try:
            await step()
        except AssertionError as error:
            error.add_note(f"operation {number}, {step.__name__}; ISTHMUS_TEST_SEED={_SEED} repeats it")
            raise
    print(f"{_OPERATIONS} operations, {history.answers} answers compared, {len(history.model.items)} items at the end")
    assert history.answers > _OPERATIONS
