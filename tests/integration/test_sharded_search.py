"""A collection that is split over two groups of searchers, each a process, beside one searcher of everything."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.client import AsyncClient
from isthmus.core.aligners import CenterAligner, IdentityAligner
from isthmus.core.canonical import canonical
from isthmus.index.catalog import StorePaths
from isthmus.index.model import AlignerFiles
from isthmus.index.order import order_digest
from isthmus.index.roster import Roster
from isthmus.runtime.base.object_store import ObjectStore
from isthmus.runtime.base.shards import shard_of
from isthmus.v1 import common_pb2, erasing_pb2, filter_pb2, gateway_service_pb2
from tests.integration.gateway_calls import create, image_item, refusal, request, search, spaced, text_item, upsert
from tests.integration.sharded_mesh import SPACE, ShardedMesh, eventually, sharded_mesh
from tests.unit.gateway.mesh import png
from tests.unit.index.support import files, fitted_calibration

_TEXTS, _IMAGES = 360, 300
_KEYS = 120
_COLOURS = ("red", "green", "blue")


async def _fill(mesh: ShardedMesh) -> int:
    """Store pairs of texts and images, some of them equal, and delete a few; return the revision."""
    await create(mesh.whole, "things")

    def attributes(number: int) -> dict[str, common_pb2.AttributeValue]:
        return {
            "colour": common_pb2.AttributeValue(string_value=_COLOURS[number % 3]),
            "size": common_pb2.AttributeValue(int_value=number),
        }

    items = [
        # Every seventh text is the one before it: equal scores, told apart by id.
        text_item(
            f"t{number}",
            f"text {number - (number % 7 == 6)}",
            pair_key=f"p{number % _KEYS}" if number % 5 else "",
            attributes=attributes(number),
        )
        for number in range(_TEXTS)
    ]
    items += [
        image_item(f"i{number}", png(number), pair_key=f"p{number % _KEYS}", attributes=attributes(number))
        for number in range(_IMAGES)
    ]
    order = np.random.default_rng(3).permutation(len(items)).tolist()
    for start in range(0, len(items), 110):
        chosen = [items[place] for place in order[start : start + 110]]
        await upsert(mesh.whole, request(f"r{start}", chosen))
    deleted = await mesh.whole.stub.DeleteItems(
        gateway_service_pb2.DeleteItemsRequest(collection="things", ids=["t3", "i9", "i10"], request_id="d1"),
        timeout=10,
    )
    return deleted.revision


def _question(rng: np.random.Generator) -> dict[str, Any]:
    """Return a random search."""

    def number() -> int:
        return int(rng.integers(40, 280))

    def vector() -> gateway_service_pb2.SpacedVector:
        row = canonical(rng.standard_normal((1, 16)))[0]
        kind = common_pb2.MODALITY_TEXT if rng.random() < 0.5 else common_pb2.MODALITY_IMAGE
        return spaced(row, space=SPACE, modality=kind)

    def item() -> str:
        return f"{'ti'[int(rng.integers(2))]}{number()}"

    def examples() -> gateway_service_pb2.Examples:
        kinds: list[Callable[[], dict[str, Any]]] = [
            lambda: {"text": f"text {number()}"},
            lambda: {"image": png(number())},
            lambda: {"vector": vector()},
            lambda: {"item_id": item()},
        ]
        weights = [1.0, *rng.choice([0.5, 2.0, -0.75], size=int(rng.integers(1, 4))).tolist()]
        return gateway_service_pb2.Examples(
            examples=[gateway_service_pb2.Example(**kinds[int(rng.integers(4))](), weight=weight) for weight in weights]
        )

    queries: list[Callable[[], dict[str, Any]]] = [
        lambda: {"text": f"text {number()}"},
        lambda: {"image": png(number())},
        lambda: {"vector": vector()},
        lambda: {"item_id": item()},
        lambda: {"examples": examples()},
    ]
    asked = queries[int(rng.integers(5))]()
    asked["top_k"] = int(rng.choice([1, 3, 10, 40, 300]))
    asked["modality"] = int(rng.choice([0, 0, common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT]))
    if rng.random() < 0.4:
        asked["filter"] = _filter(rng)
    if rng.random() < 0.3:
        asked["group_by"] = common_pb2.GROUP_BY_PAIR_KEY
    if rng.random() < 0.2:
        asked["collapse_above"] = float(rng.choice([0.5, 0.999]))
    if rng.random() < 0.2:
        asked["mmr_lambda"] = float(rng.choice([0.3, 0.8]))
    return asked


def _filter(rng: np.random.Generator) -> filter_pb2.Filter:
    colour = common_pb2.AttributeValue(string_value=_COLOURS[int(rng.integers(3))])
    equals = filter_pb2.Filter(equals=filter_pb2.AttributeEquals(attribute="colour", value=colour))
    least = common_pb2.AttributeValue(int_value=int(rng.integers(0, 340)))
    above = filter_pb2.Filter(range=filter_pb2.AttributeRange(attribute="size", at_least=least))
    return [equals, above, filter_pb2.Filter(all_of=filter_pb2.FilterList(filters=[equals, above]))][
        int(rng.integers(3))
    ]


def _comparable(answer: Any) -> bytes:
    """Return everything that an answer says about items, bit for bit: not how long it took, nor who answered."""
    copy = type(answer)()
    copy.CopyFrom(answer)
    for name in ("timings", "shards_answered", "shards_total"):
        copy.ClearField(name)
    return bytes(copy.SerializeToString(deterministic=True))


async def _same(mesh: ShardedMesh, asked: dict[str, Any]) -> gateway_service_pb2.SearchItemsResponse:
    """Ask both; they must say the same."""
    one, split = await search(mesh.whole, **asked), await search(mesh.sharded, **asked)
    assert [n.item.id for n in split.neighbors] == [n.item.id for n in one.neighbors], asked
    assert _comparable(split) == _comparable(one), asked
    assert (split.shards_answered, split.shards_total, one.shards_total) == (2, 2, 0)
    return split


async def _at_rest(mesh: ShardedMesh, revision: int) -> None:
    """Wait until every process answers by the calibration that the store's last revision has."""
    asked = {"text": "text 1", "top_k": 5, "min_revision": revision}
    roster = Roster(StorePaths.at(mesh.store, ObjectStore(endpoint="", region="")))
    (follower,) = roster.update()
    follower.follow()
    expected = order_digest(follower.entry.uuid, follower.snapshot())

    async def agree() -> bool:
        tokens = [(await search(each, **asked)).next_page_token for each in (mesh.whole, mesh.sharded)]
        return {base64.urlsafe_b64decode(token + "===")[1:9] for token in tokens} == {expected}

    await eventually(agree)


async def _promote(mesh: ShardedMesh, made: AlignerFiles, name: str) -> int:
    artefact = common_pb2.AlignerArtefact(manifest=made.manifest, tensors=made.tensors)
    imported = await mesh.whole.stub.ImportAligner(
        gateway_service_pb2.ImportAlignerRequest(artefact=artefact, request_id=f"import-{name}"), timeout=20
    )
    promoted = await mesh.whole.stub.PromoteAligner(
        gateway_service_pb2.PromoteAlignerRequest(
            collection="things",
            aligner=imported.aligner.aligner,
            allow_unverified=True,
            request_id=f"promote-{name}",
        ),
        timeout=20,
    )
    return promoted.collection.revision


def _rows(seed: int, count: int = 40) -> Any:
    return canonical(np.random.default_rng(seed).standard_normal((count, 16)))


async def test_two_groups_answer_as_one(tmp_path: Path) -> None:
    """210 random searches of every kind: ids, order, scores, calibrated scores, probabilities and pages, bit for bit.

    Without an aligner the calibration is estimated from a sample of the whole; then under a fitted calibration; then
    under an aligner that maps vectors and has none. 45 more are asked in batches.
    """
    rng = np.random.default_rng(11)
    identity = IdentityAligner.fit(aligner_id="same", space=SPACE, dimension=16, created_by="test")
    fitted = files(identity.with_findings(calibration=fitted_calibration(), report={}))
    centred = files(CenterAligner.fit(_rows(1), _rows(2), aligner_id="centre", space=SPACE, created_by="test", seed=0))
    pages = seen_partial_top = 0
    async with sharded_mesh(tmp_path) as mesh:
        revision = await _fill(mesh)
        sources = set()
        for aligner in (None, fitted, centred):
            if aligner is not None:
                revision = await _promote(mesh, aligner, f"{revision}")
            await _at_rest(mesh, revision)
            for _ in range(70):
                asked = _question(rng)
                answer = await _same(mesh, asked)
                sources.add(answer.calibration)
                seen_partial_top += 0 < len(answer.neighbors) < asked["top_k"]
                for _ in range(2):
                    if not answer.next_page_token:
                        break
                    pages += 1
                    answer = await _same(mesh, {**asked, "page_token": answer.next_page_token})
            for view in (
                common_pb2.NEIGHBOR_VIEW_FULL,
                common_pb2.NEIGHBOR_VIEW_BASIC,
                common_pb2.NEIGHBOR_VIEW_UNSPECIFIED,
            ):
                batch = gateway_service_pb2.BatchSearchItemsRequest(
                    collection="things",
                    queries=[gateway_service_pb2.SearchQuery(text=f"text {number}") for number in range(50, 55)]
                    + [gateway_service_pb2.SearchQuery(item_id=f"i{number}") for number in range(60, 70)],
                    top_k=60,
                    group_by=common_pb2.GROUP_BY_PAIR_KEY if not view else common_pb2.GROUP_BY_UNSPECIFIED,
                    view=view,
                )
                one, split = [
                    await each.stub.BatchSearchItems(batch, timeout=20) for each in (mesh.whole, mesh.sharded)
                ]
                assert _comparable(split) == _comparable(one)
                assert len(split.results) == 15
        backing_up = gateway_service_pb2.BackupCollectionRequest(collection="things", min_revision=revision)
        for _ in mesh.shards:  # any group copies the whole
            parts = [answer.part async for answer in mesh.sharded.stub.BackupCollection(backing_up, timeout=30)]
            assert json.loads(parts[0].data)["text_count"] == _TEXTS - 1
        erasing = gateway_service_pb2.EraseItemsRequest(collection="things", ids=["i60"], request_id="erase")
        erased = await mesh.sharded.stub.EraseItems(erasing, timeout=60)
        assert (erased.deleted_count, list(erased.gaps)) == (1, [erasing_pb2.ERASURE_GAP_BACKUPS])
        mesh.shards[1].__exit__()
        erased = await mesh.sharded.stub.EraseItems(erasing, timeout=60)
        assert erasing_pb2.ERASURE_GAP_SEARCHER_FILES in erased.gaps
    assert len(sources) >= 3  # none needed, estimated, fitted
    assert pages > 35
    assert seen_partial_top > 5


async def test_a_missing_group_is_told_or_refused(tmp_path: Path) -> None:
    """Killed: an error that counts the groups, or a flagged answer from the other; likewise when it only hangs.

    Once it is back, answers are whole again. Items of the group that is there are still read.
    """
    async with sharded_mesh(tmp_path) as mesh:
        await _at_rest(mesh, await _fill(mesh))
        whole = await search(mesh.sharded, **_ASKED)
        assert list(whole.degraded) == []

        async def is_whole() -> bool:
            try:
                return _comparable(await search(mesh.sharded, **_ASKED)) == _comparable(whole)
            except grpc.aio.AioRpcError:
                return False

        mesh.shards[1].kill()
        token = await _without_the_second(mesh, whole)
        mesh.restart(1)
        await eventually(is_whole)
        reason, _ = await _refused(search(mesh.sharded, **_ASKED, allow_partial=True, page_token=token))
        assert reason == "CURSOR_EXPIRED"
        os.kill(mesh.shards[0].pid, signal.SIGSTOP)
        try:
            await _while_the_first_hangs(mesh)
        finally:
            os.kill(mesh.shards[0].pid, signal.SIGCONT)
        await eventually(is_whole)


_ASKED: dict[str, Any] = {"text": "text 50", "top_k": 40}


async def _refused(call: Awaitable[object]) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    _, reason, metadata = refusal(caught.value)
    return reason, metadata


async def _without_the_second(mesh: ShardedMesh, whole: gateway_service_pb2.SearchItemsResponse) -> str:
    """Check what is said while the second group is gone; return the token of a partial answer's next page."""
    reason, metadata = await _refused(search(mesh.sharded, **_ASKED))
    assert (reason, metadata["shard"], metadata["shards_total"]) == ("SHARD_UNAVAILABLE", "1", "2")
    partial = await search(mesh.sharded, **_ASKED, allow_partial=True)
    assert (list(partial.degraded), partial.shards_answered, partial.shards_total) == (["shards"], 1, 2)
    there = [n.item.id for n in whole.neighbors if shard_of(n.item.id, 2) == 0]
    assert [n.item.id for n in partial.neighbors][: len(there)] == there
    assert {shard_of(n.item.id, 2) for n in partial.neighbors} == {0}
    # A page of a partial answer goes on while the same group is missing.
    token = partial.next_page_token
    following = await search(mesh.sharded, **_ASKED, allow_partial=True, page_token=token)
    assert not {n.item.id for n in following.neighbors} & {n.item.id for n in partial.neighbors}
    query = gateway_service_pb2.SearchQuery(text="a")
    batch = gateway_service_pb2.BatchSearchItemsRequest(collection="things", queries=[query], allow_partial=True)
    answered = await mesh.sharded.stub.BatchSearchItems(batch, timeout=10)
    assert (list(answered.degraded), answered.shards_answered, answered.shards_total) == (["shards"], 1, 2)
    mine, theirs = (next(f"t{n}" for n in range(50, 99) if shard_of(f"t{n}", 2) == at) for at in (0, 1))
    got = gateway_service_pb2.GetItemsRequest(collection="things", ids=[mine])
    assert [item.id for item in (await mesh.sharded.stub.GetItems(got, timeout=10)).items] == [mine]
    got.ids.append(theirs)
    assert (await _refused(mesh.sharded.stub.GetItems(got, timeout=10)))[0] == "SHARD_UNAVAILABLE"
    async with AsyncClient(mesh.sharded.gateway.address) as client:
        found = await client.search("things", text="text 50", allow_partial=True)
        assert (found.is_partial, found.shards_answered, found.shards_total) == (True, 1, 2)
        many = await client.batch_search("things", ["text 50"], allow_partial=True)
        assert (many.degraded, many.shards_answered, many.shards_total) == (("shards",), 1, 2)
    status = await mesh.sharded.status()
    assert not status.index_search_serving
    return token


async def _while_the_first_hangs(mesh: ShardedMesh) -> None:
    """Check that a group that does not answer counts as missing before the caller's time is up: after 80 % of it."""
    message = gateway_service_pb2.SearchItemsRequest(collection="things", **_ASKED, allow_partial=True)
    started_s = time.monotonic()
    slow = await mesh.sharded.stub.SearchItems(message, timeout=2.0)
    assert 1.4 < time.monotonic() - started_s < 2.0
    assert (list(slow.degraded), slow.shards_answered) == (["shards"], 1)
    message.allow_partial = False
    # The client's own clock may say so before the gateway's answer is there: the code is all that is sure.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.sharded.stub.SearchItems(message, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
