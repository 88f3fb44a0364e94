"""`isthmus bulk-index`: what it refuses before it encodes anything, in a line that helps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.bulk.blocks import Columns
from isthmus.bulk.job import job_name
from isthmus.bulk.staging import BlockRecord, Staging
from isthmus.cli.bulk_import import GatewayImporter
from isthmus.client import Client
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import Running


def _table(name: str = "photos.parquet") -> Path:
    pq.write_table(pa.table({"image": [b"no image"], "captions": [["a caption"]]}), name)
    return Path(name).resolve()


def test_without_ray_it_says_which_extra_is_missing(isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name or by its options, Ray must be there; else the hint names the extra and the plain engine."""
    _table()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    for options in (["--engine", "ray"], ["--actors", "2"], ["--ray-address", "auto"]):
        done = isthmus("bulk-index", "photos.parquet", "-c", "c", *options)
        assert (done.status, "EXTRA_MISSING" in done.stderr) == (1, True)
        assert "isthmus[ray]" in done.stderr
        assert "--engine plain" in done.stderr


def test_options_that_make_no_sense_together(isthmus: Isthmus) -> None:
    """A plain engine has no actors; a dual encoder leaves no room for two others."""
    _table()
    for options in (["--engine", "plain", "--actors", "2"], ["--encoder", "a", "--text-encoder", "b"]):
        done = isthmus("bulk-index", "photos.parquet", "-c", "c", *options)
        assert (done.status, "USAGE" in done.stderr) == (2, True)


def test_sources_that_are_not_there_or_hold_nothing(isthmus: Isthmus) -> None:
    """Named by their path; nothing is made, no collection and no folder."""
    for source in ("absent.parquet", "absent/*.tar"):
        done = isthmus("bulk-index", source, "-c", "c", "--engine", "plain", "--json")
        assert (done.status, done.json()["error"]["reason"]) == (1, "UNREADABLE_SOURCE")
        assert source.split("/")[0] in done.stderr
    assert list(Path().iterdir()) == []


def test_the_same_command_runs_once_at_a_time(isthmus: Isthmus) -> None:
    """While one holds the job's folder, a second one is refused at once."""
    source = _table()
    held = Staging(str(Path("staging").resolve() / "default"), job_name("c", [str(source)], Columns(), 128))
    held.lock()
    done = isthmus("bulk-index", source, "-c", "c", "--engine", "plain", "--staging", "staging", "--json")
    assert (done.status, done.json()["error"]["reason"]) == (1, "JOB_RUNNING")


def _record(key: str, revision: int, *probe: str) -> BlockRecord:
    return BlockRecord(key=key, state="done", rows=1, revision=revision, probe=probe)


def test_blocks_that_a_collection_has_lost_are_found(filled: Isthmus, server: Running) -> None:
    """Done once, and now of a later revision than the collection, or without its items: those are done again."""
    with Client(server.address) as client:
        revision = client.get_collection("pets").revision
        importer = GatewayImporter(client, "pets", Staging("staging", "job"))
        ids = sorted(filled("search", "-c", "pets", "--text", "cat", "--json").json()["neighbors"][0]["id"].split())
        records = [
            _record("there", revision, *ids),
            _record("half", revision, *ids, "gone"),
            _record("later", revision + 1, *ids),
            _record("refused whole", 0),
        ]
        assert importer.lost(records) == {"half", "later"}
        assert importer.lost([]) == set()
