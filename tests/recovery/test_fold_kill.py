"""kill -9 of a process that folds: the table is as before the fold or as after it, and takes writes (D6)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isthmus.core.modality import Modality
from isthmus.index.build import catch_up, load_snapshot
from isthmus.index.events import Answer, Event, Op
from isthmus.index.group_plan import plan_group
from isthmus.index.model import NewItem, SpacedVectors
from isthmus.index.mutations import prepare_upsert
from isthmus.index.snapshot import Snapshot
from isthmus.index.state import load_state
from isthmus.index.store import EventTable
from tests.unit.index.support import ONE_SPACE, SPACE, vectors

_KILLS = 60 if os.environ.get("ISTHMUS_TEST_LONG") == "1" else 4
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_ITEMS = 400
_FOLD_MAX_S = 0.12
"""Folding, merging and claiming 800 events take about 60 ms; kills come anywhere in that and a little after."""

_CHILD = """
import sys
from isthmus.index.store import EventTable
table = EventTable.open(sys.argv[1], durable=True)
print("ready", flush=True)
sys.stdin.readline()
table.fold(request_ids_count=1000, least_dead=1)
table.maintain(fan_out=2, keep_versions_s=0.0)
table.claim(check=lambda: None, pin="epoch-1")
print("done", flush=True)
sys.stdin.readline()
"""


class _Writer:
    """What a writer would do with the table between two kills."""

    def __init__(self, uri: str) -> None:
        self.table = EventTable.open(uri, durable=False)
        self.table.claim(check=lambda: None, pin="")
        self.state = load_state(self.table.view(), ONE_SPACE, request_ids_count=1_000)

    def upsert(self, number: int) -> dict[str, str]:
        """Store every item anew; return the attribute of each."""
        ids = [f"item-{n}" for n in range(_ITEMS)]
        items = [NewItem(id=i, modality=Modality.IMAGE, attributes={"number": f"{number} of {i}"}) for i in ids]
        given = {Modality.IMAGE: SpacedVectors(SPACE, vectors(number, _ITEMS))}
        mutation, _ = prepare_upsert(items, given, settings=ONE_SPACE, request_id=f"r{number}")
        plan = plan_group(self.state, [mutation], payload_at=lambda _: b"")
        self.table.append(plan.events)
        self.state.adopt(plan)
        return {item.id: str(item.attributes["number"]) for item in items}


def _contents(snapshot: Snapshot) -> dict[str, str]:
    return {
        part.segment.id_at(row): str(snapshot.item(part.segment, row).attributes["number"])
        for part in snapshot.segments[Modality.IMAGE]
        for row in part.live_rows.tolist()
    }


def _kill_while_folding(uri: str, after_s: float) -> bool:
    """Return whether the fold was over before the kill."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("\n")
        child.stdin.flush()
        time.sleep(after_s)
        child.kill()
        return child.stdout.read() == "done\n"


@pytest.mark.timeout(60 + 5 * _KILLS)
def test_a_kill_anywhere_in_a_fold_leaves_the_table_whole(tmp_path: Path) -> None:
    """4 kills, 60 in the long version: every item, every answer and the revision are there, and writing goes on."""
    chance = random.Random(_SEED)
    uri = str(tmp_path / "things.lance")
    first = Event(revision=1, op=Op.SETTINGS, request_id="create", answer=Answer(op=Op.SETTINGS, revision=1).to_json())
    EventTable.create(uri, first, durable=False)
    reader = load_snapshot("things", ONE_SPACE, EventTable.open(uri, durable=False).view())
    over = folded = 0
    for kill in range(_KILLS):
        writer = _Writer(uri)
        writer.upsert(2 * kill)
        expected = writer.upsert(2 * kill + 1)
        rows = writer.table.view().rows
        over += _kill_while_folding(uri, chance.uniform(0.0, _FOLD_MAX_S))
        view = EventTable.open(uri, durable=False).view()
        folded += view.rows < rows
        assert view.rows == rows or view.rows == _ITEMS + 2  # the first event and the fold beside the items
        reader = catch_up(reader, view)
        for snapshot in (reader, load_snapshot("things", ONE_SPACE, view)):
            assert snapshot.revision == 2 * kill + 3
            assert _contents(snapshot) == expected
        assert {f"r{number}" for number in range(2 * kill + 2)} <= _Writer(uri).state.answers.keys()
    print(f"seed {_SEED}: {folded} of {_KILLS} were folded, {over} over, when the kill came")
