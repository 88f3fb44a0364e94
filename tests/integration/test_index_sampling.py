"""What a service that works in the background asks of a searcher: which collections there are, some of their pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine
from isthmus.index.model import NewItem
from isthmus.index.pair_rows import PairSampling
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.limits import MEASURE_SAMPLE_MAX_COUNT
from tests.unit.index.support import (
    ONE_SPACE,
    TENANT,
    create,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)


def _items(modality: Modality, keys: list[str], *, prefix: str) -> list[NewItem]:
    return [NewItem(id=f"{prefix}{number}", modality=modality, pair_key=key) for number, key in enumerate(keys)]


async def _read(searcher: SearcherEngine, sample: PairSampling | None) -> dict[Modality, list[tuple[str, str]]]:
    """Return ids and pair keys by modality."""
    found: dict[Modality, list[tuple[str, str]]] = {modality: [] for modality in Modality}
    reader = await searcher.read_items(TENANT, "things", paired_only=True, sample=sample, timeout_s=20.0)
    async for batch in reader.batches:
        assert len(batch.embeddings) == len(batch.ids)
        found[batch.modality] += zip(batch.ids, batch.pair_keys, strict=True)
    return found


async def test_a_sample_holds_whole_pairs_of_live_items_and_follows_its_seed(tmp_path: Path) -> None:
    """30 of 200 photos over several segments, and every caption of those and of no other; dead items are not drawn."""
    keys = [f"thing-{number}" for number in range(200)]
    captions = [key for key in keys for _ in range(3)]
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer)
        for start in range(0, 200, 50):
            part = slice(start, start + 50)
            await upsert(writer, _items(Modality.IMAGE, keys[part], prefix=f"i{start}-"), vectors(start, 50))
        await upsert(writer, _items(Modality.TEXT, captions, prefix="t"), vectors(1, 600))
        await upsert(writer, _items(Modality.IMAGE, [""] * 40, prefix="alone"), vectors(2, 40))
        await writer.delete(TENANT, "things", ids=[f"i0-{n}" for n in range(25)], request_id=request_id())
        stored = await upsert(writer, _items(Modality.TEXT, ["", ""], prefix="w"), vectors(3, 2))
        await searcher.read_items(TENANT, "things", min_revision=stored.revision, timeout_s=20.0)
        one, again, other = [await _read(searcher, PairSampling(30, seed)) for seed in (1, 1, 2)]
        assert one == again
        assert one != other
        drawn = {key for _, key in one[Modality.IMAGE]}
        assert len(one[Modality.IMAGE]) == len(drawn) == 30
        assert not drawn & set(keys[:25])
        assert len(one[Modality.TEXT]) == 90
        assert {key for _, key in one[Modality.TEXT]} == drawn
        everything = await _read(searcher, PairSampling(5_000))
        assert len(everything[Modality.IMAGE]) == 175
        # Captions of deleted photos have a key that no photo has.
        assert len(everything[Modality.TEXT]) == 525


async def test_texts_of_one_key_are_at_most_five_times_as_many(tmp_path: Path) -> None:
    """A key with a thousand captions does not make a sample large."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer)
        await upsert(writer, _items(Modality.IMAGE, ["one", "two"], prefix="i"), vectors(0, 2))
        stored = await upsert(writer, _items(Modality.TEXT, ["one"] * 400, prefix="t"), vectors(1, 400))
        await searcher.read_items(TENANT, "things", min_revision=stored.revision, timeout_s=20.0)
        found = await _read(searcher, PairSampling(10))
        assert (len(found[Modality.IMAGE]), len(found[Modality.TEXT])) == (2, 50)


def test_a_sample_is_bounded() -> None:
    """One and 5,000 are taken, none and 5,001 are refused by name."""
    assert PairSampling(1).count == 1
    assert PairSampling(MEASURE_SAMPLE_MAX_COUNT).count == 5_000
    for count in (0, MEASURE_SAMPLE_MAX_COUNT + 1):
        with pytest.raises(InvalidArgumentError, match=f"sample_count must be 1 to 5000; it is {count}"):
            PairSampling(count)


async def test_what_is_followed_is_told_with_what_changed(tmp_path: Path) -> None:
    """Collections of all tenants; items stored above a known revision are counted, updates too, deleted ones not."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer)
        await writer.create_collection("rival", "theirs", settings=ONE_SPACE, aligner=None, request_id=request_id())
        first = await upsert(writer, _items(Modality.IMAGE, [""] * 10, prefix="i"), vectors(0, 10))
        second = await upsert(writer, _items(Modality.IMAGE, [""] * 4, prefix="i"), vectors(9, 4))
        await writer.delete(TENANT, "things", ids=["i0", "i9"], request_id=request_id())
        latest = await upsert(writer, _items(Modality.TEXT, [""], prefix="t"), vectors(1, 1))
        await searcher.read_items(TENANT, "things", min_revision=latest.revision, timeout_s=20.0)
        await searcher.read_items("rival", "theirs", timeout_s=20.0)
        ours, theirs = await searcher.list_followed({(TENANT, "things"): first.revision})
        assert (ours.tenant, ours.info.name, theirs.tenant, theirs.info.name) == (TENANT, "things", "rival", "theirs")
        assert ours.uid != theirs.uid
        assert (ours.info.revision, ours.changed_count) == (latest.revision, 4)
        later = await searcher.list_followed({(TENANT, "things"): second.revision})
        assert later[0].changed_count == 1
        everything = await searcher.list_followed({})
        assert (everything[0].changed_count, everything[1].changed_count) == (9, 0)
