"""A searcher that holds a part of every collection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.core.calibration import CalibrationSource
from isthmus.core.modality import Modality
from isthmus.index import calibrate, guests
from isthmus.index.build import catch_up, load_snapshot
from isthmus.index.calibrate import CalibrationKeeper
from isthmus.index.engine import WriterEngine
from isthmus.index.model import NewItem
from isthmus.index.snapshot import Snapshot
from isthmus.index.store import EventTable
from isthmus.runtime.base.shards import SHARDS_MAX_COUNT, WHOLE, Shard, shard_of
from tests.unit.index.support import (
    ONE_SPACE,
    TENANT,
    center,
    config,
    create,
    fitted_calibration,
    identity,
    images,
    request_id,
    running_writer,
    texts,
    upsert,
    vectors,
)

_SHARDS = tuple(Shard(number, 3) for number in range(3))


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> int:
    """Estimate from 80 items of a modality, so that a small collection holds more."""
    for module, name, value in ((calibrate, "SAMPLE_LIMIT", 80), (guests, "SAMPLE_LIMIT", 80)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(guests, "_KEPT_COUNT", 120)
    return 80


def _ids(snapshot: Snapshot) -> dict[str, tuple[Modality, bytes]]:
    return {
        part.segment.id_at(row): (modality, part.segment.vectors[row].tobytes())
        for modality, parts in snapshot.segments.items()
        for part in parts
        for row in part.live_rows.tolist()
    }


def _calibrated(snapshot: Snapshot) -> dict[str, Any]:
    calibration, final = CalibrationKeeper().calibrate(snapshot)
    assert final
    return calibration.to_dict()


def _items(names: list[str], *, keys: int) -> list[NewItem]:
    items = [*images(names[::2]), *texts(names[1::2])]
    return [replace(item, pair_key=f"k{number % keys}") for number, item in enumerate(items)]


def _uri(store: Path) -> str:
    (uri,) = [path for path in (store / TENANT).glob("*.lance") if path.name != "catalog.lance"]
    return str(uri)


async def _history(writer: WriterEngine, rng: np.random.Generator, live: list[str], steps: int) -> None:
    for _ in range(steps):
        if live and rng.random() < 0.45:
            gone = [live.pop(int(rng.integers(len(live)))) for _ in range(min(len(live), 90))]
            await writer.delete(TENANT, "things", ids=gone, request_id=request_id())
            continue
        fresh = [f"i{int(rng.integers(2_000))}" for _ in range(120)]
        fresh = list(dict.fromkeys(fresh))
        await upsert(writer, _items(fresh, keys=60), vectors(int(rng.integers(1 << 30)), len(fresh)))
        live.extend(name for name in fresh if name not in set(live))


class TestHash:
    """Which shard holds an item."""

    def test_it_never_changes(self) -> None:
        """Pinned values: collections are split by it on machines and in versions that never meet."""
        assert [shard_of(name, 7) for name in ("a", "b", "photo-1", "é", "中")] == [4, 0, 4, 5, 2]

    @pytest.mark.parametrize("count", [2, 3, 64])
    def test_parts_are_disjoint_and_even(self, count: int) -> None:
        """Every id is held by one part; of 6,000 ids, none of 64 parts is off by more than a half."""
        ids = [f"item-{number}" for number in range(6_000)]
        held = np.array([Shard(number, count).holds(ids) for number in range(count)])
        assert (held.sum(axis=0) == 1).all()
        assert np.abs(held.sum(axis=1) / (len(ids) / count) - 1.0).max() < 1 / 2

    def test_there_is_no_other_part(self) -> None:
        """A number outside and a count beyond the limit are refused; the limit is not."""
        assert Shard(SHARDS_MAX_COUNT - 1, SHARDS_MAX_COUNT).count == SHARDS_MAX_COUNT
        for number, count in ((2, 2), (-1, 2), (0, 0), (0, SHARDS_MAX_COUNT + 1)):
            with pytest.raises(ValueError, match=r"shard_(count|number) must be"):
                Shard(number, count)

    def test_a_process_learns_of_it_at_start(self, tmp_path: Path) -> None:
        """A searcher that would hold a part that is not there does not start, nor a writer of a part."""
        assert config(tmp_path, "searcher", shard_count=2, shard_number=1).shard == Shard(1, 2)
        for role, settings in (("searcher", {"shard_count": 2, "shard_number": 2}), ("writer", {"shard_count": 2})):
            with pytest.raises(ValueError, match="shard_"):
                config(tmp_path, role, **settings)


class TestParts:
    """What the parts of a collection hold together."""

    @pytest.mark.parametrize("aligner", [None, "center"])
    async def test_they_are_the_whole(self, tmp_path: Path, aligner: str | None, small_samples: int) -> None:
        """The parts have every item once, equal to the last bit, and each estimates the whole's calibration.

        Whether a part read the collection at once or followed it, through deletions of most of it too, which use up
        what it keeps of the others.
        """
        rng = np.random.default_rng(5)
        chosen = center() if aligner else None
        async with running_writer(tmp_path) as writer:
            await create(writer, aligner=chosen)
            live: list[str] = []
            await _history(writer, rng, live, 4)
            table = EventTable.open(_uri(tmp_path), durable=False)
            followed = {shard: load_snapshot("things", ONE_SPACE, table.view(), shard=shard) for shard in _SHARDS}
            sources, most = set(), 0
            for step in range(9):
                await _history(writer, rng, live, 3)
                if step == 7:
                    gone, live = live[: len(live) * 4 // 5], live[len(live) * 4 // 5 :]
                    await writer.delete(TENANT, "things", ids=gone, request_id=request_id())
                view = table.view()
                whole = load_snapshot("things", ONE_SPACE, view, shard=WHOLE)
                most = max(most, len(_ids(whole)))
                followed = {shard: catch_up(snapshot, view) for shard, snapshot in followed.items()}
                fresh = {shard: load_snapshot("things", ONE_SPACE, view, shard=shard) for shard in _SHARDS}
                for parts in (followed, fresh):
                    found = [_ids(parts[shard]) for shard in _SHARDS]
                    assert sum(map(len, found)) == len(_ids(whole))
                    assert {name: value for part in found for name, value in part.items()} == _ids(whole)
                    for shard in _SHARDS:
                        assert _calibrated(parts[shard]) == _calibrated(whole)
                        assert parts[shard].revision == whole.revision
                        assert all(_kept(parts[shard], modality) <= 240 for modality in Modality)
                sources.add(CalibrationKeeper().calibrate(whole)[0].source)
        assert CalibrationSource.ESTIMATED in sources
        assert most > 6 * small_samples  # each modality held many more than a sample

    async def test_guests_are_kept_for_an_estimate_only(self, tmp_path: Path) -> None:
        """With a fitted calibration a part holds nothing of the others."""
        async with running_writer(tmp_path) as writer:
            await create(writer, aligner=identity(fitted_calibration()))
            names = [f"i{number}" for number in range(60)]
            await upsert(writer, _items(names, keys=30), vectors(1, 60))
            view = EventTable.open(_uri(tmp_path), durable=False).view()
            snapshot = load_snapshot("things", ONE_SPACE, view, shard=_SHARDS[0])
            assert not snapshot.guests
            assert 0 < len(_ids(snapshot)) < 60

    async def test_a_part_without_one_modality_estimates_too(self, tmp_path: Path) -> None:
        """Whether a collection mixes modalities is asked of the collection, not of the part."""
        shard = Shard(0, 2)
        names = [f"t{number}" for number in range(400)]
        others = [name for name in (f"i{number}" for number in range(400)) if not shard.holds([name])[0]]
        async with running_writer(tmp_path) as writer:
            await create(writer)
            await upsert(writer, texts(names), vectors(1, 400))
            await upsert(writer, images(others), vectors(2, len(others)))
            view = EventTable.open(_uri(tmp_path), durable=False).view()
            part = load_snapshot("things", ONE_SPACE, view, shard=shard)
            whole = load_snapshot("things", ONE_SPACE, view)
        assert part.count(Modality.IMAGE) == 0
        assert _calibrated(part) == _calibrated(whole)
        assert CalibrationKeeper().calibrate(part)[0].source is CalibrationSource.ESTIMATED


def _kept(snapshot: Snapshot, modality: Modality) -> int:
    return sum(part.live_count for part in snapshot.guests[modality].parts)
