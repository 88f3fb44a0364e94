"""Folding: events that count no more go, and nothing else is noticed (ADR 31)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index import folding
from isthmus.index.aligner_files import accept_aligner
from isthmus.index.build import catch_up, load_snapshot
from isthmus.index.catalog import StorePaths, read_catalog
from isthmus.index.events import Answer, Event, Op, pack_aligner
from isthmus.index.group_plan import plan_group
from isthmus.index.history import read_history
from isthmus.index.model import NewItem, SpacedVectors
from isthmus.index.mutations import Delete, Mutation, Rollback, SetAligner, SetShadow, prepare_upsert
from isthmus.index.snapshot import Snapshot
from isthmus.index.state import CollectionState, load_state
from isthmus.index.store import EventTable
from isthmus.index.superseded import SupersededError
from isthmus.index.table import AppendTable
from isthmus.runtime.base.errors import DataLossError
from isthmus.runtime.base.object_store import ObjectStore
from isthmus.runtime.base.shards import Shard
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    center,
    create,
    images,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_POOL = vectors(0, 4_000)
_REMEMBERED = 40
_FIRST = Event(revision=1, op=Op.SETTINGS, request_id="create", answer=Answer(op=Op.SETTINGS, revision=1).to_json())
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_RUNS = 100 if os.environ.get("ISTHMUS_TEST_LONG") == "1" else 3


@dataclass
class _Collection:
    """A collection as its writer keeps it, and beside it a dict of what must be there."""

    uri: str
    table: EventTable
    state: CollectionState
    model: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Row of the pool and attribute of every item."""

    @classmethod
    def create(cls, uri: str) -> _Collection:
        first = Event(
            revision=1, op=Op.SETTINGS, request_id="create", answer=Answer(op=Op.SETTINGS, revision=1).to_json()
        )
        table = EventTable.create(uri, first, durable=False)
        return cls(uri, table, load_state(table.view(), ONE_SPACE, request_ids_count=_REMEMBERED))

    def apply(self, *mutations: Mutation) -> list[Answer]:
        plan = plan_group(self.state, mutations, payload_at=self._payload_at)
        if plan.events:
            self.table.append(plan.events)
        self.state.adopt(plan)
        answers = [outcome for outcome in plan.outcomes if isinstance(outcome, Answer)]
        assert len(answers) == len(mutations)
        return answers

    def upsert(self, ids: Sequence[str], rows: Sequence[int], request: str | None = None) -> Answer:
        word = f"word {rows[0]}"
        items = [NewItem(id=item_id, modality=Modality.IMAGE, attributes={"word": word}) for item_id in ids]
        given = {Modality.IMAGE: SpacedVectors(SPACE, _POOL[list(rows)])}
        mutation, failures = prepare_upsert(items, given, settings=ONE_SPACE, request_id=request or request_id())
        assert not failures
        self.model |= {item_id: (row, word) for item_id, row in zip(ids, rows, strict=True)}
        return self.apply(mutation)[0]

    def delete(self, ids: Sequence[str]) -> Answer:
        for item_id in ids:
            self.model.pop(item_id, None)
        return self.apply(Delete(request_id(), tuple(ids)))[0]

    def fold(self) -> int:
        return self.table.fold(request_ids_count=_REMEMBERED, least_dead=1)

    def restart(self) -> None:
        """Open it again and find what was known."""
        before = self.state
        self.table = EventTable.open(self.uri, durable=False)
        self.table.claim(check=lambda: None, pin="")
        self.state = load_state(self.table.view(), ONE_SPACE, request_ids_count=_REMEMBERED)
        assert self.state.revision == before.revision
        assert self.state.items == before.items
        assert self.state.counts == before.counts
        assert (self.state.activations, self.state.shadow) == (before.activations, before.shadow)
        # Mutations that changed nothing wrote nothing, and are remembered by the process alone.
        written = {key: known for key, known in before.answers.items() if key in self.state.answers}
        assert list(self.state.answers.items())[-len(written) :] == list(written.items())

    def check(self, snapshot: Snapshot) -> None:
        """Compare what a reader has with the model."""
        found = {}
        for part in snapshot.segments[Modality.IMAGE]:
            for row in part.live_rows.tolist():
                item_id = part.segment.id_at(row)
                assert item_id not in found
                found[item_id] = snapshot.item(part.segment, row).attributes["word"]
        assert found == {item_id: word for item_id, (_, word) in self.model.items()}
        assert snapshot.revision == self.state.revision
        assert snapshot.space(Modality.IMAGE) == (self.state.aligner or SPACE)
        assert snapshot.shadow == self.state.shadow
        ids = sorted(self.model)
        if ids:
            places = [place for place in snapshot.find(ids) if place is not None]
            rows = snapshot.view.take(np.array([place.segment.row_ids[place.row] for place in places]))
            assert rows["id"].to_pylist() == ids
            assert rows["embedding"].to_pylist() == [_POOL[self.model[i][0]].astype("<f2").tobytes() for i in ids]

    def _payload_at(self, revision: int) -> bytes:
        for batch in self.table.view().scan(("revision", "payload"), op=Op.SETTINGS):
            for row in batch.to_pylist():
                if row["revision"] == revision:
                    payload: bytes = row["payload"]
                    return payload
        raise AssertionError


@pytest.fixture
def collection(tmp_path: Path) -> _Collection:
    """A collection without items."""
    return _Collection.create(str(tmp_path / "things.lance"))


def _load(collection: _Collection) -> Snapshot:
    return load_snapshot("things", ONE_SPACE, collection.table.view())


_KINDS = {"upsert": 9, "delete": 4, "fold": 4, "merge": 2, "restart": 2, "aligner": 1, "rollback": 1, "shadow": 1}


def _change(collection: _Collection, kind: str, chance: random.Random) -> None:
    ids = [f"item-{n}" for n in chance.sample(range(25), chance.randint(1, 8))]
    if kind == "upsert":
        collection.upsert(ids, [chance.randrange(len(_POOL)) for _ in ids])
    elif kind == "delete":
        collection.delete(ids)
    elif kind == "merge":
        collection.table.maintain(fan_out=2, keep_versions_s=300.0)
    elif kind == "restart":
        collection.restart()
    elif kind == "aligner":
        files = center(chance.randrange(1_000))
        space = accept_aligner(files, ONE_SPACE).space
        collection.apply(SetAligner(request_id(), space, pack_aligner(files)))
    elif kind == "rollback" and len(collection.state.activations) > 1:
        collection.apply(Rollback(request_id()))
    elif kind == "shadow":
        collection.apply(SetShadow(request_id(), f"shadow{chance.random()}@0123456789abcdef", b""))
    elif kind == "fold":
        before = read_history(collection.table.view())
        collection.fold()
        assert read_history(collection.table.view()) == before
        assert collection.table.view().rows <= len(collection.model) + before.total_count + 2
        assert collection.fold() == 0


@pytest.mark.parametrize("seed", range(_SEED, _SEED + _RUNS))
def test_random_mutations_folds_merges_and_restarts_end_as_a_dict_says(collection: _Collection, seed: int) -> None:
    """Writer, fresh readers and readers that stopped anywhere before agree with a model after each of 40 operations."""
    chance = random.Random(seed)
    readers = [_load(collection)]
    for _ in range(40):
        _change(collection, chance.choices(list(_KINDS), list(_KINDS.values()))[0], chance)
        number = chance.randrange(len(readers))
        readers[number] = catch_up(readers[number], collection.table.view())
        collection.check(readers[number])
        if chance.random() < 0.2:
            readers.append(readers[number])
    for reader in readers:
        collection.check(catch_up(reader, collection.table.view()))
    collection.restart()
    collection.check(_load(collection))


async def test_a_thousand_changes_to_50_items_end_as_50_items_and_a_few_hundred_events(tmp_path: Path) -> None:
    """The writer folds by itself: 1,002 events come down to 50 items and a few hundred."""
    async with running_writer(tmp_path, keep_versions_s=1.0) as writer:
        await create(writer)
        for number in range(100):
            ids = [f"item-{n % 50}" for n in range(number * 10, number * 10 + 10)]
            await upsert(writer, images(ids), _POOL[number * 10 : number * 10 + 10])
    paths = StorePaths.at(tmp_path, ObjectStore())
    entry = read_catalog(AppendTable.open(paths.catalog(TENANT), durable=False).view())["things"]
    events = EventTable.open(paths.events(TENANT, entry.uuid), durable=False).view().rows
    assert 50 < events <= 50 + 2 + 256 + 4 * 10  # maintenance comes every fourth commit
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        assert (await writer.get_collection(TENANT, "things")).revision == 101
        _, found = await searcher.get_items(
            TENANT, "things", ids=[f"item-{n}" for n in range(50)], include_embeddings=True
        )
        np.testing.assert_array_equal(np.array([item.embedding for item in found]), _POOL[950:1000])


def test_a_reader_follows_across_a_fold_without_reading_what_it_has(collection: _Collection) -> None:
    """An item stored, one changed and one deleted behind its back, then folded: its old segment stays in use."""
    collection.upsert([f"item-{n}" for n in range(20)], list(range(20)))
    reader = _load(collection)
    collection.upsert(["item-3", "new"], [100, 101])
    collection.delete(["item-4"])
    assert collection.fold() == 3
    later = catch_up(reader, collection.table.view())
    collection.check(later)
    assert later.segments[Modality.IMAGE][0].segment is reader.segments[Modality.IMAGE][0].segment
    collection.upsert(["item-5"], [102])
    collection.check(catch_up(later, collection.table.view()))


def test_the_reader_of_a_part_follows_across_a_fold(collection: _Collection) -> None:
    """What it knows of other parts, for the calibration of the whole, goes with them too."""
    ids = [f"item-{n}" for n in range(40)]
    collection.upsert(ids, list(range(40)))
    shard = Shard(0, 2)
    reader = load_snapshot("things", ONE_SPACE, collection.table.view(), shard=shard)
    collection.delete(ids[::3])
    collection.upsert(ids[1:5], [100, 101, 102, 103])
    collection.fold()
    view = collection.table.view()
    fresh, later = load_snapshot("things", ONE_SPACE, view, shard=shard), catch_up(reader, view)
    assert _held(later) == _held(fresh) != _held(reader)


def _held(snapshot: Snapshot) -> list[list[str]]:
    parts = (snapshot.segments[Modality.IMAGE], snapshot.guests[Modality.IMAGE].parts)
    return [sorted(part.segment.id_at(row) for part in each for row in part.live_rows.tolist()) for each in parts]


def test_a_reader_at_an_older_version_reads_on(collection: _Collection) -> None:
    """What a view from before the fold showed, it shows still, superseded events too."""
    collection.upsert(["a"], [1])
    view = collection.table.view()
    collection.upsert(["a"], [2])
    collection.fold()
    collection.table.maintain(fan_out=2, keep_versions_s=300.0)
    assert view.take(view.heads().item_rows)["embedding"].to_pylist() == [_POOL[1].astype("<f2").tobytes()]


def test_request_ids_of_folded_mutations_are_answered_alike(collection: _Collection) -> None:
    """After two folds and a restart: the upsert that was superseded, and the deletion whose row went."""
    first = collection.upsert(["a", "b"], [1, 2], request="first")
    collection.upsert(["a", "b"], [3, 4])
    gone = collection.apply(Delete("gone", ("b",)))[0]
    assert collection.fold() == 4
    collection.upsert(["a"], [5])
    assert collection.fold() == 1
    collection.restart()
    rows = collection.table.view().rows
    assert collection.upsert(["a", "b"], [1, 2], request="first") == first
    assert collection.apply(Delete("gone", ("b",)))[0] == gone
    assert collection.table.view().rows == rows


def test_no_more_answers_are_kept_than_are_remembered(collection: _Collection) -> None:
    """The fold keeps those of the newest mutations only."""
    for number in range(_REMEMBERED + 20):
        collection.upsert(["a"], [number], request=f"r{number}")
    collection.fold()
    fold = collection.table.view().heads().fold
    assert fold is not None
    kept = [known.request_id for known in fold.answers]
    assert kept == [f"r{number}" for number in range(20, _REMEMBERED + 19)]  # the newest one's row is there


def test_the_revision_stays_when_the_newest_events_are_folded_away(collection: _Collection) -> None:
    """A deletion is the newest event and goes: its revision is never used again."""
    collection.upsert(["a"], [1])
    last = collection.delete(["a"])
    collection.fold()
    collection.restart()
    assert collection.state.revision == last.revision
    assert collection.upsert(["b"], [2]).revision == last.revision + 1


def test_a_row_missing_from_a_folded_table_is_noticed(collection: _Collection) -> None:
    """Rows up to the fold are counted and summed: one that is gone is damage, to writer and reader."""
    collection.upsert(["a", "b"], [1, 2])
    collection.upsert(["a"], [3])
    reader = _load(collection)
    collection.upsert(["c"], [4])
    collection.upsert(["c"], [5])
    collection.fold()
    dataset = AppendTable.open(collection.uri, durable=False)._latest()
    dataset.delete("id = 'b'")
    with pytest.raises(DataLossError, match="are not the"):
        _load(collection)
    with pytest.raises(DataLossError, match="are not the"):
        catch_up(reader, collection.table.view())


def test_events_appended_while_a_fold_works_stay(collection: _Collection) -> None:
    """A fold plans from one version; what is committed before it is, comes after it in revisions."""
    collection.upsert(["a"], [1])
    collection.upsert(["a"], [2])
    other = EventTable.open(collection.uri, durable=False)
    find = folding.find_heads

    def late(*arguments: object) -> object:
        found = find(*arguments)  # type: ignore[arg-type]
        collection.upsert(["a", "b"], [3, 4])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "find_heads", late)
        assert other.fold(request_ids_count=_REMEMBERED, least_dead=1) == 1
    collection.check(_load(collection))
    collection.restart()


def test_the_fold_of_a_superseded_writer_is_not_committed(collection: _Collection) -> None:
    """A claim comes between its plan and its commit: nothing is taken out, and its appends fail too."""
    collection.upsert(["a"], [1])
    collection.upsert(["a"], [2])
    old = AppendTable.open(collection.uri, durable=False)
    rows = old.view().rows
    find = folding.find_heads

    def overtaken(*arguments: object) -> object:
        found = find(*arguments)  # type: ignore[arg-type]
        AppendTable.open(collection.uri, durable=False).claim()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "find_heads", overtaken)
        assert EventTable(old).fold(request_ids_count=_REMEMBERED, least_dead=1) == 0
    assert AppendTable.open(collection.uri, durable=False).view().rows == rows
    with pytest.raises(SupersededError):
        collection.upsert(["a"], [3])


def test_every_file_of_a_fold_is_synced_before_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event and the lists of rows that are gone reach the disk first; a power loss leaves the version before."""
    table = EventTable.create(str(tmp_path / "table"), _FIRST, durable=True)
    collection = _Collection(str(tmp_path / "table"), table, load_state(table.view(), ONE_SPACE, request_ids_count=9))
    collection.upsert(["a", "b"], [1, 2])
    collection.upsert(["a"], [3])
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink().name))
    assert collection.fold() == 1
    kinds = [Path(name).suffix or name for name in synced]
    assert kinds == [".arrow", "_deletions", "table", ".lance", "data", ".manifest", "_versions"]
