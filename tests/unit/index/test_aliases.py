"""Aliases: where they point, what they stand for, and when they may be switched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.aliases import ALIASES_MAX_COUNT, RECALL_MARGIN, Alias, SwitchTerms, check_alias_count
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.model import NewItem
from isthmus.runtime.base.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.index.support import (
    ONE_SPACE,
    TENANT,
    create,
    images,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

_PAIRS = 60
_FORCED = SwitchTerms(override_reason="a test")


def _pairs() -> list[NewItem]:
    return [
        NewItem(id=f"{modality}{number}", modality=modality, pair_key=f"p{number}")
        for modality in Modality
        for number in range(_PAIRS)
    ]


def _rows(noise: float, seed: int = 1) -> NDArray[np.float32]:
    """Return images, then texts that lie near their images, the nearer the less noise."""
    base = vectors(seed, _PAIRS)
    near = base + noise * vectors(seed + 1, _PAIRS)
    return np.concatenate([base, (near / np.linalg.norm(near, axis=1, keepdims=True))]).astype(np.float16).astype("f4")


async def _fill(writer: WriterEngine, name: str, noise: float, seed: int = 1) -> int:
    await create(writer, name)
    return (await upsert(writer, _pairs(), _rows(noise, seed), name=name)).revision


async def _set(writer: WriterEngine, target: str, terms: SwitchTerms | None = None, request: str = "") -> Alias:
    return await writer.set_alias(
        TENANT, "shop", target, terms=terms or SwitchTerms(), request_id=request or request_id()
    )


async def _switch(writer: WriterEngine, searcher: SearcherEngine, target: str, margin: float = RECALL_MARGIN) -> Alias:
    """Compare and switch, as the gateway does."""
    (alias,) = await writer.aliases(TENANT)
    names = (alias.collection, target)
    revisions = [(await writer.get_collection(TENANT, name)).revision for name in names]
    found = await searcher.compare(TENANT, names, min_revisions=(revisions[0], revisions[1]), seed=7)
    return await _set(writer, target, SwitchTerms(comparison=found, recall_margin=margin))


async def test_an_alias_stands_for_its_collection_in_reads_and_writes(tmp_path: Path) -> None:
    """Written and read under the alias; the collection's own name holds it all."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer, "one")
        await _set(writer, "one")
        revision = (await upsert(writer, images(["a", "b"]), vectors(1, 2), name="shop")).revision
        assert await writer.resolve(TENANT, "shop") == "one"
        name, least = await searcher.resolve(TENANT, "shop", min_revision=revision)
        assert (name, least) == ("one", revision)
        _, items = await searcher.get_items(TENANT, name, ids=["a", "b"], min_revision=least)
        assert [item.id for item in items] == ["a", "b"]
        assert (await writer.get_collection(TENANT, "shop")).name == "one"
        assert (await writer.delete(TENANT, "shop", ids=["a"], request_id=request_id()))[1] == 1


async def test_a_switch_is_refused_with_the_figures_unless_counts_ids_and_answers_agree(tmp_path: Path) -> None:
    """Too few items, other ids, and pairs that are found less often; a good copy passes, with its figures kept."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await _fill(writer, "old", 0.3)
        await _set(writer, "old")
        await create(writer, "few")
        await upsert(writer, _pairs()[:-1], _rows(0.3)[:-1], name="few")
        await create(writer, "other")
        named = [NewItem(id=f"x{item.id}", modality=item.modality, pair_key=item.pair_key) for item in _pairs()]
        await upsert(writer, named, _rows(0.3), name="other")
        await _fill(writer, "worse", 5.0)
        await _fill(writer, "better", 0.1, seed=20)
        for target, figures in (
            ("few", "59 text items instead of 60"),
            ("other", "120 of 120 sampled ids are not in the new collection"),
            ("worse", r"recall@10 text to image is 0\.\d+ instead of (1.000|0.9\d+), at most 0.02 less is allowed"),
        ):
            with pytest.raises(FailedPreconditionError, match=figures) as caught:
                await _switch(writer, searcher, target)
            assert caught.value.reason == "ALIAS_REFUSED"
            assert (await writer.aliases(TENANT))[0].collection == "old"
        switched = await _switch(writer, searcher, "better")
        assert (switched.collection, switched.previous) == ("better", "old")
        found = switched.comparison
        assert found is not None
        assert (found.pair_count, found.missing_pair_count) == (_PAIRS, 0)
        assert found.new_t2i_recall >= found.old_t2i_recall - 0.02
        # Other vectors altogether: by neighbours alone nothing would have agreed.
        assert found.neighbor_overlap < 0.5


async def test_the_margin_is_the_callers(tmp_path: Path) -> None:
    """What is refused at 0.02 passes at 1."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await _fill(writer, "old", 0.1)
        await _fill(writer, "worse", 5.0)
        await _set(writer, "old")
        with pytest.raises(FailedPreconditionError, match="recall@10"):
            await _switch(writer, searcher, "worse")
        assert (await _switch(writer, searcher, "worse", margin=1.0)).collection == "worse"


async def test_without_pairs_the_neighbours_must_stay(tmp_path: Path) -> None:
    """The same vectors agree; others, of the same ids, do not."""
    ids = [f"i{number}" for number in range(40)]
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        for name, seed in (("old", 1), ("same", 1), ("others", 2)):
            await create(writer, name)
            await upsert(writer, images(ids), vectors(seed, len(ids)), name=name)
        await _set(writer, "old")
        with pytest.raises(FailedPreconditionError, match=r"of 40 items 0\.237 of the 10 nearest are the same"):
            await _switch(writer, searcher, "others")
        same = (await _switch(writer, searcher, "same")).comparison
        assert same is not None
        assert same.neighbor_overlap == 1.0


async def test_nobody_switches_without_a_comparison_but_with_a_reason_which_is_kept(tmp_path: Path) -> None:
    """Also after a restart; a comparison of other collections is no comparison."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await _fill(writer, "old", 0.3)
        await create(writer, "new")
        await _fill(writer, "third", 0.3)
        await _set(writer, "old")
        with pytest.raises(FailedPreconditionError, match="nobody has compared"):
            await _set(writer, "third")
        found = await searcher.compare(TENANT, ("new", "third"), min_revisions=(0, 0), seed=0)
        with pytest.raises(UnavailableError, match="switched meanwhile"):
            await _set(writer, "third", SwitchTerms(comparison=found))
        await _set(writer, "new", _FORCED)
    async with running_writer(tmp_path) as writer:
        (alias,) = await writer.aliases(TENANT)
        assert (alias.collection, alias.previous, alias.override_reason) == ("new", "old", "a test")


async def test_names_are_told_apart(tmp_path: Path) -> None:
    """No alias of a collection's name, no collection of an alias', none of an alias, none of nothing."""
    async with running_writer(tmp_path) as writer:
        await create(writer, "one")
        await _set(writer, "one")
        with pytest.raises(AlreadyExistsError) as exists:
            await writer.set_alias(TENANT, "one", "one", terms=SwitchTerms(), request_id="r1")
        with pytest.raises(FailedPreconditionError) as is_alias:
            await create(writer, "shop")
        with pytest.raises(FailedPreconditionError) as of_alias:
            await writer.set_alias(TENANT, "more", "shop", terms=SwitchTerms(), request_id="r2")
        with pytest.raises(NotFoundError) as absent:
            await writer.set_alias(TENANT, "more", "absent", terms=SwitchTerms(), request_id="r3")
        reasons = [caught.value.reason for caught in (exists, is_alias, of_alias, absent)]
        assert reasons == ["COLLECTION_EXISTS", "NAME_IS_ALIAS", "NAME_IS_ALIAS", "COLLECTION_NOT_FOUND"]
        # Another tenant has names of its own.
        await writer.create_collection("other", "shop", settings=ONE_SPACE, aligner=None, request_id="r")
        assert await writer.aliases("other") == ()


async def test_a_collection_with_an_alias_is_not_deleted_and_the_alias_is_named(tmp_path: Path) -> None:
    """Nor under the alias; once the alias is gone it is."""
    async with running_writer(tmp_path) as writer:
        await create(writer, "one")
        await _set(writer, "one")
        with pytest.raises(FailedPreconditionError, match="the alias shop points at") as caught:
            await writer.delete_collection(TENANT, "one", request_id=request_id())
        assert (caught.value.reason, dict(caught.value.metadata)) == ("COLLECTION_HAS_ALIAS", {"alias": "shop"})
        with pytest.raises(FailedPreconditionError, match="the name is an alias"):
            await writer.delete_collection(TENANT, "shop", request_id=request_id())
        for _ in range(2):
            await writer.delete_alias(TENANT, "shop", request_id="gone")
        with pytest.raises(NotFoundError) as absent:
            await writer.delete_alias(TENANT, "shop", request_id="again")
        assert absent.value.reason == "ALIAS_NOT_FOUND"
        await writer.delete_collection(TENANT, "one", request_id=request_id())
        with pytest.raises(NotFoundError):
            await writer.get_collection(TENANT, "shop")


async def test_a_request_id_switches_once(tmp_path: Path) -> None:
    """A copy that comes late does not switch back, after a restart neither."""
    async with running_writer(tmp_path) as writer:
        for name in ("one", "two"):
            await create(writer, name)
        first = await _set(writer, "one", request="first")
        await _set(writer, "two", _FORCED)
        assert await _set(writer, "one", request="first") == first
    async with running_writer(tmp_path) as writer:
        assert await _set(writer, "one", request="first") == first
        assert await writer.resolve(TENANT, "shop") == "two"


async def test_a_revision_of_the_collection_before_is_no_revision_to_wait_for(tmp_path: Path) -> None:
    """Who wrote under the alias reads on after the switch; under its own name the new collection is waited for."""
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path, revision_wait_s=0.2) as searcher:
        for name in ("one", "two"):
            await create(writer, name)
        await _set(writer, "one")
        for seed in range(5):
            late = (await upsert(writer, images(["a"]), vectors(seed, 1), name="shop")).revision
        await _set(writer, "two", _FORCED)
        written = (await upsert(writer, images(["b"]), vectors(9, 1), name="shop")).revision
        assert written < late
        assert await searcher.resolve(TENANT, "shop", min_revision=late) == ("two", written)
        with pytest.raises(UnavailableError):
            await searcher.get_items(TENANT, "two", ids=["b"], min_revision=late)


def test_limits() -> None:
    """The limit is accepted, one more is not: aliases of a tenant, bytes of a reason, the margin."""
    check_alias_count(ALIASES_MAX_COUNT - 1)
    with pytest.raises(ResourceExhaustedError, match=str(ALIASES_MAX_COUNT)):
        check_alias_count(ALIASES_MAX_COUNT)
    SwitchTerms(override_reason="x" * 1_024, recall_margin=1.0)
    with pytest.raises(InvalidArgumentError, match="the limit is 1024"):
        SwitchTerms(override_reason="x" * 1_025)
    with pytest.raises(InvalidArgumentError, match="recall_margin"):
        SwitchTerms(recall_margin=float("nan"))
