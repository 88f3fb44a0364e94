"""Watching: what is looked at and when, what is proposed and what is not, and what is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.ports import CollectionHead, FollowedCollection, ItemBatch
from isthmus.alignment.watching.documents import Documents, DocumentsInFolder, open_documents
from isthmus.alignment.watching.proposals import Proposal, ProposalBook
from isthmus.alignment.watching.watcher import Watcher
from isthmus.core import Modality, canonical
from isthmus.core.aligners import Artefact, FitOptions, Label
from isthmus.core.recipe import RawPairs, fit_and_judge
from isthmus.core.watch import Breach
from isthmus.evaluation import ModalityItems
from isthmus.runtime.base.errors import NotFoundError, UnavailableError
from isthmus.runtime.base.object_store import ObjectStore
from tests.harness.s3_server import running_s3
from tests.unit.alignment.conftest import SPACE, MakeItems, MemoryReader

TENANT, NAME = "acme", "photos"
KEY = (TENANT, NAME)
BREACH = Breach(cause="mean", subject="image", figure=0.3, limit=0.15)
TEMPLATE = Proposal(
    proposal="",
    collection=NAME,
    uid="u1",
    aligner="a@00112233445566aa",
    cause="",
    subject="",
    figure=0.0,
    limit=0.0,
    revision=7,
    time_micros=1_700_000_000_000_000,
    command="isthmus align fit",
)


class MemoryCollections:
    """`FollowedCollections` over one collection at hand, with what was asked."""

    def __init__(self, items: dict[Modality, ModalityItems], aligner: Artefact | None) -> None:
        self.reader = MemoryReader(items, aligner=aligner)
        self.found: list[FollowedCollection] = [self.collection()]
        self.looks: list[tuple[str, str, int, int]] = []
        self.lists: list[dict[tuple[str, str], int]] = []
        self.broken = False

    def collection(self, **changes: object) -> FollowedCollection:
        """Return the collection as a searcher would tell of it."""
        aligner = self.reader.aligner
        whole = FollowedCollection(
            tenant=TENANT,
            name=NAME,
            uid="u1",
            revision=7,
            aligner="" if aligner is None else aligner.space,
            item_count=1_200,
            changed_count=0,
        )
        return replace(whole, **changes)  # type: ignore[arg-type]

    async def followed(self, known: Mapping[tuple[str, str], int]) -> Sequence[FollowedCollection]:
        """Return what there is, unless the searcher is away."""
        self.lists.append(dict(known))
        if self.broken:
            msg = "away"
            raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE")
        return list(self.found)

    async def read_sample(
        self, tenant: str, collection: str, *, count: int, seed: int
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield everything there is."""
        self.looks.append((tenant, collection, count, seed))
        async for message in self.reader.read(collection, min_revision=0, paired_only=True):
            if isinstance(message, CollectionHead):
                message = replace(message, revision=self.found[0].revision)  # noqa: PLW2901
            yield message


@pytest.fixture
def fast(config: AlignmentConfig) -> AlignmentConfig:
    """Settings with a round every 20 milliseconds, no rest, and no look but for a reason."""
    return config.model_copy(update={"watch_interval_s": 0.02, "watch_busy_share": 1.0})


def _fitted(items: dict[Modality, ModalityItems]) -> Artefact:
    images, texts = items[Modality.IMAGE], items[Modality.TEXT]
    pairs = RawPairs(
        images=images.vectors,
        texts=texts.vectors,
        image_keys=images.pair_keys,
        text_keys=texts.pair_keys,
        image_space=SPACE,
        text_space=SPACE,
    )
    return fit_and_judge("center", pairs, label=Label(aligner_id="mine", created_by="a test"), options=FitOptions())[0]


async def _until(check: Callable[[], bool]) -> None:
    until = time.monotonic() + 20.0
    while not check():
        assert time.monotonic() < until, "it did not happen within 20 s"
        await asyncio.sleep(0.005)


async def _rounds(collections: MemoryCollections, count: int) -> None:
    """Wait for so many rounds to begin, and for the ones before the last to end."""
    seen = len(collections.lists)
    await _until(lambda: len(collections.lists) >= seen + count)


async def test_a_collection_is_looked_at_once_and_again_for_a_reason(
    fast: AlignmentConfig, make_items: MakeItems
) -> None:
    """Unchanged it is left alone; a changed share, another aligner, or time since a change bring the next look."""
    items = make_items()
    collections = MemoryCollections(items, _fitted(items))
    slow = fast.model_copy(update={"watch_interval_s": 3_600.0})
    watcher = Watcher(slow, collections)
    await watcher.recall()
    try:
        for changes, looks in (
            ({}, 1),
            ({}, 1),
            ({"revision": 8, "changed_count": 59}, 1),  # below 5 % of 1,200
            ({"revision": 8, "changed_count": 60}, 2),
            ({"revision": 8}, 2),
        ):
            collections.found = [collections.collection(**changes)]
            await watcher.look_round()
            assert len(collections.looks) == looks, changes
        assert collections.looks[0] == (TENANT, NAME, 2_000, 7)
        assert collections.lists[-1] == {KEY: 8}
        collections.reader.aligner = None
        collections.found = [collections.collection(revision=9)]
        await watcher.look_round()
        assert len(collections.looks) == 3
        assert watcher.watch(*KEY).aligner == ""
    finally:
        await watcher.close()


async def test_quiet_pairs_propose_nothing_and_drifted_ones_once(fast: AlignmentConfig, make_items: MakeItems) -> None:
    """A second look at what has drifted finds the proposal open; another aligner closes it, and is quiet."""
    items = make_items()
    collections = MemoryCollections(items, _fitted(items))
    watcher = Watcher(fast, collections)
    await watcher.start()
    try:
        await _until(lambda: watcher.watch(*KEY).revision == 7)
        assert watcher.watch(*KEY).proposals == ()
        moved = canonical(items[Modality.IMAGE].vectors + 3.0 * items[Modality.TEXT].vectors.mean(axis=0))
        collections.reader.items = items | {Modality.IMAGE: replace(items[Modality.IMAGE], vectors=moved)}
        collections.found = [collections.collection(revision=8, changed_count=400)]
        await _until(lambda: watcher.watch(*KEY).revision == 8)
        made = watcher.watch(*KEY).open_proposals
        assert "mean" in {one.cause for one in made}
        mean = next(one for one in made if one.cause == "mean")
        assert (mean.subject, mean.revision, mean.limit) == ("image", 8, 0.15)
        assert mean.command == f"isthmus align fit --collection {NAME} --method center --name mine"
        collections.found = [collections.collection(revision=9, changed_count=400)]
        await _until(lambda: watcher.watch(*KEY).revision == 9)
        assert {one.proposal for one in watcher.watch(*KEY).proposals} == {one.proposal for one in made}
        collections.reader.aligner = _fitted(collections.reader.items)
        collections.found = [collections.collection(revision=10)]
        await _until(lambda: watcher.watch(*KEY).revision == 10)
        assert watcher.watch(*KEY).open_proposals == ()
        assert {one.state for one in await watcher.proposals(TENANT)} == {"superseded"}
    finally:
        await watcher.close()


async def test_a_restart_remembers_and_a_collection_of_the_same_name_does_not_inherit(
    fast: AlignmentConfig, make_items: MakeItems
) -> None:
    """Figures and proposals are there before the first round; another uid is another collection."""
    items = make_items()
    collections = MemoryCollections(items, _fitted(items))
    texts = items[Modality.TEXT].vectors[::2]
    collections.reader.items = items | {Modality.IMAGE: replace(items[Modality.IMAGE], vectors=texts)}
    watcher = Watcher(fast, collections)
    await watcher.start()
    await _until(lambda: bool(watcher.watch(*KEY).open_proposals))
    before = watcher.watch(*KEY)
    await watcher.close()
    still = Watcher(fast.model_copy(update={"watch_interval_s": 0.0}), collections)
    await still.start()
    assert still.watch(*KEY) == before
    assert still.watch(*KEY).proposals == before.proposals
    newest_first = sorted(before.proposals, key=lambda one: one.proposal)
    assert await still.proposals(TENANT) == await still.proposals(TENANT, NAME) == newest_first
    assert await still.proposals("rival") == []
    figures = Path(str(fast.aligners_dir)) / "_watch" / TENANT / NAME / "figures.json"
    figures.unlink()  # as a crash between a proposal and the figures leaves it
    await still.recall()
    assert (still.watch(*KEY).revision, still.watch(*KEY).proposals) == (0, before.proposals)
    await still.close()
    collections.reader = MemoryReader(items, aligner=None)
    collections.found = [collections.collection(uid="u2", aligner="")]
    again = Watcher(fast, collections)
    await again.start()
    try:
        await _until(lambda: again.watch(*KEY).uid == "u2" and again.watch(*KEY).revision == 7)
        assert again.watch(*KEY).proposals == ()
        assert await again.proposals(TENANT) == []
    finally:
        await again.close()


async def test_a_collection_that_is_gone_is_told_of_no_more_and_in_the_end_forgotten(
    fast: AlignmentConfig, make_items: MakeItems
) -> None:
    """At once from the list; from the disk only after many rounds: a searcher that is away or behind costs nothing."""
    items = make_items()
    collections = MemoryCollections(items, _fitted(items))
    watcher = Watcher(fast, collections)
    await watcher.start()
    try:
        await _until(lambda: bool(watcher.watches()))
        await _until(lambda: watcher.watch(*KEY).revision == 7)
        collections.broken = True
        await _rounds(collections, 12)
        assert [key for key, _ in watcher.watches()] == [TENANT]
        collections.broken, collections.found = False, []
        await _until(lambda: not watcher.watches())
        home = Path(str(fast.aligners_dir)) / "_watch" / TENANT / NAME
        assert home.exists()
        collections.found = [collections.collection()]
        await _until(lambda: bool(watcher.watches()))
        collections.found = []
        await _until(lambda: not home.exists() and watcher.watch(*KEY).revision == 0)
    finally:
        await watcher.close()


@pytest.mark.parametrize("photos", [0, 15])
async def test_too_few_pairs_are_told_so(photos: int, fast: AlignmentConfig, make_items: MakeItems) -> None:
    """No figures, and why; it is no failure, and the collection is not looked at again until it changes."""
    collections = MemoryCollections(make_items(photos=photos), None)
    watcher = Watcher(fast, collections)
    await watcher.start()
    try:
        await _until(lambda: watcher.watch(*KEY).revision == 7)
        found = watcher.watch(*KEY)
        assert found.figures is None
        assert found.unmeasured == (f"pairs: {photos} pair keys have items of both modalities, at least 16; add pairs")
        await _rounds(collections, 3)
        assert len(collections.looks) == 1
    finally:
        await watcher.close()


@pytest.fixture(scope="module")
def s3_root() -> Iterator[tuple[str, dict[str, str]]]:
    """A real object store."""
    with running_s3() as server:
        yield server.root, dict(server.env)


@pytest.fixture(params=["folder", "object_store"])
def documents(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Documents:
    """A place for documents of either kind."""
    if request.param == "folder":
        return open_documents(tmp_path / "aligners", ObjectStore())
    root, env = request.getfixturevalue("s3_root")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return open_documents(f"{root}/{tmp_path.name}", ObjectStore())


def test_documents_are_written_whole_listed_and_removed(documents: Documents) -> None:
    """In place of any of that name; a folder that is not there has no names and can be removed."""
    assert (documents.names(""), documents.read("a/b/c.json")) == ([], None)
    documents.write("a/b/c.json", b"1")
    documents.write("a/b/c.json", b"22")
    documents.write("a/d/e.json", b"3")
    assert documents.read("a/b/c.json") == b"22"
    assert (documents.names(""), documents.names("a"), documents.names("a/b")) == (["a"], ["b", "d"], ["c.json"])
    documents.remove("a/b")
    documents.remove("a/b")
    assert documents.names("a") == ["d"]


def test_one_proposal_is_open_a_cause_and_a_dismissal_holds_until_the_figure_has_doubled(documents: Documents) -> None:
    """Two processes that see the same make one record; a closed one is not made again as it was."""
    book, other = ProposalBook(documents), ProposalBook(documents)
    first = book.propose(TENANT, [], BREACH, TEMPLATE)
    assert first is not None
    assert other.propose(TENANT, [], BREACH, TEMPLATE) == first
    assert book.of(TENANT, NAME) == [first]
    assert book.propose(TENANT, [first], replace(BREACH, figure=9.0), TEMPLATE) is None
    spectrum = book.propose(TENANT, [first], replace(BREACH, cause="spectrum"), TEMPLATE)
    assert spectrum is not None
    closed = book.close(TENANT, first, state="dismissed", now_micros=5, reason="known")
    known = other.of(TENANT, NAME)
    assert {one.proposal for one in known} == {first.proposal, spectrum.proposal}
    assert closed in known
    assert book.propose(TENANT, known, replace(BREACH, figure=0.59), TEMPLATE) is None
    again = book.propose(TENANT, known, replace(BREACH, figure=0.6), TEMPLATE)
    assert again is not None
    assert again.proposal not in {one.proposal for one in known}


def test_what_a_promotion_closed_is_proposed_again_when_it_comes_back(documents: Documents) -> None:
    """Rolled back to the aligner that had drifted: nobody has dismissed that."""
    book = ProposalBook(documents)
    first = book.propose(TENANT, [], BREACH, TEMPLATE)
    assert first is not None
    book.close(TENANT, first, state="superseded", now_micros=5)
    second = book.propose(TENANT, book.of(TENANT, NAME), BREACH, TEMPLATE)
    assert second is not None
    assert second.proposal != first.proposal


def test_a_damaged_record_is_left_out(tmp_path: Path) -> None:
    """Half a file, another document, another's id: the others are told all the same."""
    documents = DocumentsInFolder(tmp_path)
    book = ProposalBook(documents)
    good = book.propose(TENANT, [], BREACH, TEMPLATE)
    assert good is not None
    home = tmp_path / TENANT / NAME
    text = (home / f"{good.proposal}.json").read_text()
    (home / f"{'0' * 16}.json").write_text(text[: len(text) // 2])
    (home / f"{'1' * 16}.json").write_text(json.dumps({"proposal": "1" * 16}))
    (home / f"{'2' * 16}.json").write_text(text)
    (home / "notes.txt").write_text("not ours")
    assert book.of(TENANT, NAME) == [good]


async def test_a_dismissal_is_kept_once_and_of_what_is_open(fast: AlignmentConfig, make_items: MakeItems) -> None:
    """An unknown id, another tenant's, and one that a promotion has closed are not found."""
    items = make_items()
    collections = MemoryCollections(items, _fitted(items))
    texts = items[Modality.TEXT].vectors[::2]
    collections.reader.items = items | {Modality.IMAGE: replace(items[Modality.IMAGE], vectors=texts)}
    watcher = Watcher(fast, collections)
    await watcher.start()
    try:
        await _until(lambda: bool(watcher.watch(*KEY).open_proposals))
        found = watcher.watch(*KEY).open_proposals[0]
        for tenant, proposal in (("rival", found.proposal), (TENANT, "0" * 16)):
            with pytest.raises(NotFoundError) as caught:
                await watcher.dismiss(tenant, NAME, proposal, reason="")
            assert caught.value.reason == "PROPOSAL_NOT_FOUND"
        closed = await watcher.dismiss(TENANT, NAME, found.proposal, reason="known")
        assert (closed.state, closed.reason) == ("dismissed", "known")
        assert await watcher.dismiss(TENANT, NAME, found.proposal, reason="other") == closed
        assert found.proposal not in {one.proposal for one in watcher.watch(*KEY).open_proposals}
        collections.reader.aligner = None
        collections.found = [collections.collection(revision=8, aligner="")]
        await _until(lambda: watcher.watch(*KEY).revision == 8)
        others = [one for one in await watcher.proposals(TENANT) if one.state == "superseded"]
        for one in others:
            with pytest.raises(NotFoundError):
                await watcher.dismiss(TENANT, NAME, one.proposal, reason="")
    finally:
        await watcher.close()
