"""Searching parts at different states: what two small searchers say is merged, asked for again or refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.core.calibration import Calibration
from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.rpc.sharded import search_stub
from isthmus.v1 import common_pb2
from isthmus.v1 import index_search_service_pb2 as pb
from isthmus.v1.index_search_service_pb2_grpc import (
    IndexSearchServiceServicer,
    add_IndexSearchServiceServicer_to_server,
)

_ASKED = pb.SearchRequest(
    collection="things",
    modality=common_pb2.MODALITY_TEXT,
    queries=common_pb2.Vectors(data=bytes(4), dimension=1, type=common_pb2.VECTOR_TYPE_FLOAT32),
    top_k=2,
)


class _Part(IndexSearchServiceServicer):
    """A searcher that holds what it is told."""

    def __init__(self, ids: list[str], scores: list[float], *, revision: int = 5, space: str = "a@1") -> None:
        self.ids, self.scores, self.revision, self.space = ids, scores, revision, space
        self.catches_up = False
        self.item_revision = 1
        self.asked: list[pb.SearchShardRequest] = []

    async def SearchShard(self, request: pb.SearchShardRequest, _context: Any) -> pb.SearchShardResponse:
        """Answer with everything; a part that catches up is at the revision asked for."""
        self.asked.append(request)
        if self.catches_up:
            self.revision = max(self.revision, request.search.min_revision)
        items = [common_pb2.Item(id=item_id, revision=self.item_revision) for item_id in self.ids]
        return pb.SearchShardResponse(
            candidates=[
                pb.ShardCandidates(
                    modality=common_pb2.MODALITY_TEXT,
                    candidate_ids=self.ids,
                    scores=np.array(self.scores, dtype="<f4").tobytes(),
                    candidate_items=items if request.items else (),
                )
            ],
            revision=self.revision,
            space=self.space,
            uid="u",
            collection="things",
            curves_json=json.dumps(Calibration.default().to_dict()).encode(),
            text_share=1.0,
            order=self.revision.to_bytes(8, "little"),
        )

    async def GetItems(
        self, request: pb.IndexSearchServiceGetItemsRequest, _context: Any
    ) -> pb.IndexSearchServiceGetItemsResponse:
        """Return items as they are by now."""
        items = [common_pb2.Item(id=item_id, revision=self.item_revision) for item_id in request.ids]
        return pb.IndexSearchServiceGetItemsResponse(items=items, revision=self.revision)


def _part(ids: list[str], scores: list[float], **state: Any) -> _Part:
    return _Part(ids, scores, **state)  # type: ignore[abstract] # the other methods answer that they are not there


@contextlib.asynccontextmanager
async def _stub(*parts: _Part) -> AsyncIterator[Callable[..., Any]]:
    async with contextlib.AsyncExitStack() as stack:
        channels = []
        for part in parts:
            server = grpc.aio.server()
            add_IndexSearchServiceServicer_to_server(part, server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            channels.append(await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}")))
        yield search_stub(channels).Search


def _request(**changes: Any) -> pb.SearchRequest:
    request = pb.SearchRequest()
    request.CopyFrom(_ASKED)
    request.MergeFrom(pb.SearchRequest(**changes))
    return request


def _ids(answer: pb.SearchResponse) -> list[str]:
    return [neighbor.item.id for neighbor in answer.results[0].neighbors]


async def test_the_best_of_both_by_score_and_then_by_id() -> None:
    """Of equals the lesser id, whichever part it is in; the parts are told which they are taken for."""
    first, second = _part(["b", "d"], [0.5, 0.2]), _part(["a", "c"], [0.5, 0.4])
    async with _stub(first, second) as search:
        assert _ids(await search(_request(top_k=1))) == ["a"]
        assert _ids(await search(_request(top_k=3))) == ["a", "b", "c"]
    assert [(part.asked[0].shard.number, part.asked[0].shard.count) for part in (first, second)] == [(0, 2), (1, 2)]


async def test_a_part_that_is_behind_is_asked_once_more() -> None:
    """It answers at the newest's revision where it can; else as it is, and the reply names the least revision."""
    for catches_up, revision in ((True, 7), (False, 5)):
        behind, ahead = _part(["a"], [0.5]), _part(["b"], [0.4], revision=7)
        behind.catches_up = catches_up
        async with _stub(behind, ahead) as search:
            answer = await search(_request())
        assert (answer.revision, _ids(answer)) == (revision, ["a", "b"])
        assert [asked.search.min_revision for asked in behind.asked] == [0, 7]
        assert len(ahead.asked) == 1


async def test_parts_under_two_aligners_are_never_merged() -> None:
    """Refused, to be retried; a partial answer is of the newer aligner's part alone, and flagged."""
    old, new = _part(["a"], [0.9]), _part(["b"], [0.4], revision=7, space="b@2")
    async with _stub(old, new) as search:
        with pytest.raises(UnavailableError) as caught:
            await search(_request())
        assert (caught.value.reason, caught.value.retry_after_s) == ("SHARDS_DISAGREE", 0.5)
        answer = await search(_request(allow_partial=True))
    assert (_ids(answer), answer.space, answer.shards_answered, answer.shards_total) == (["b"], "b@2", 1, 2)


async def test_an_item_that_was_changed_meanwhile_is_not_told_as_it_was_found() -> None:
    """Items that come after the candidates must be those that were found: else all is asked anew, three times."""
    part, other = _part(["a"], [0.5]), _part([], [])
    part.item_revision = 9
    async with _stub(part, other) as search:
        with pytest.raises(UnavailableError) as caught:
            await search(_request(top_k=500))
        assert caught.value.reason == "SHARDS_DISAGREE"
        assert len(part.asked) == 3
        part.item_revision = 4
        assert _ids(await search(_request(top_k=500))) == ["a"]
