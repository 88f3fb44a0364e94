"""Everything but searching that is asked of a split collection: as of one searcher, or refused with a reason."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.rpc.channel import call, open_channel, stream
from isthmus.runtime.rpc.sharded import search_stub, split_addresses
from isthmus.v1 import common_pb2, gateway_service_pb2
from isthmus.v1 import index_search_service_pb2 as pb
from tests.integration.gateway_calls import create, image_item, request, text_item, upsert
from tests.integration.sharded_mesh import ShardedMesh, sharded_mesh
from tests.unit.gateway.mesh import png

_COUNT = 130


@contextlib.asynccontextmanager
async def _stubs(mesh: ShardedMesh) -> AsyncIterator[tuple[Any, Any]]:
    """Yield what one searcher of everything is asked through, and what the shards are."""
    addresses = [[mesh.whole.servers["index_search"].address], [shard.address for shard in mesh.shards]]
    channels = [[open_channel(address) for address in group] for group in addresses]
    try:
        yield search_stub(channels[0]), search_stub(channels[1])
    finally:
        for channel in (channel for group in channels for channel in group):
            await channel.close()


async def _fill(mesh: ShardedMesh) -> int:
    await create(mesh.whole, "things")
    items = []
    for number in range(_COUNT):
        colour = {"colour": common_pb2.AttributeValue(string_value=f"colour {number % 11}")}
        key = f"p{number}" if number % 4 else ""
        items.append(text_item(f"t{number}", f"text {number}", pair_key=key, attributes=colour))
        items.append(image_item(f"i{number}", png(number), pair_key=key))
    acks = [ack async for ack in _each(mesh, items)]
    return acks[-1]


async def _each(mesh: ShardedMesh, items: list[gateway_service_pb2.UpsertItem]) -> AsyncIterator[int]:
    for start in range(0, len(items), 37):
        (ack,) = await upsert(mesh.whole, request(f"r{start}", items[start : start + 37]))
        yield ack.revision


async def _read(stub: Any, **asked: Any) -> tuple[common_pb2.Collection, list[tuple[Any, ...]]]:
    """Return the head and every row, in order."""
    head, rows = common_pb2.Collection(), []
    async for message in stream(stub.ReadItems, pb.ReadItemsRequest(collection="things", **asked), backend="x"):
        if message.HasField("collection"):
            head.CopyFrom(message.collection)
            continue
        count = len(message.ids)
        vectors = np.frombuffer(message.embeddings.data, dtype=np.uint8).reshape(count, -1)
        columns = [message.ids, message.pair_keys, [bytes(row) for row in vectors]]
        columns += [list(message.attribute_values) or [None] * count, list(message.content_words) or [None] * count]
        rows += [(message.modality, *row) for row in zip(*columns, strict=True)]
    return head, rows


async def test_reads_are_those_of_one_searcher(tmp_path: Path) -> None:
    """Streams row by row in the same order, items in the order asked, values, counts, measured gaps; or a refusal."""
    async with sharded_mesh(tmp_path) as mesh:
        revision = await _fill(mesh)
        async with _stubs(mesh) as (one, split):
            for asked in ({}, {"paired_only": True}, {"attribute": "colour", "content_words": True}):
                mine, theirs = [await _read(stub, min_revision=revision, **asked) for stub in (split, one)]
                assert mine == theirs
                assert len(mine[1]) == (2 * sum(1 for n in range(_COUNT) if n % 4) if "paired_only" in asked else 260)
            ids = ["t9", "gone", "i9", "t3", "t9", *(f"i{number}" for number in range(40, 60))]
            got = pb.IndexSearchServiceGetItemsRequest(collection="things", ids=ids, include_embeddings=True)
            values = pb.ListValuesRequest(collection="things", attribute="colour")
            followed = pb.ListFollowedRequest(
                known=[pb.KnownCollection(tenant="default", name="things", revision=revision - 2)]
            )
            asked_of: Mapping[str, Any] = {"GetItems": got, "ListValues": values, "ListFollowed": followed}
            for method, message in asked_of.items():
                answers: list[Any] = [await call(getattr(stub, method), message, backend="x") for stub in (split, one)]
                assert answers[0] == answers[1], method
            (known,) = answers[0].collections
            assert 0 < known.changed_count < known.item_count
        measured = [
            await each.stub.MeasureGap(
                gateway_service_pb2.MeasureGapRequest(collection="things", min_revision=revision), timeout=60
            )
            for each in (mesh.whole, mesh.sharded)
        ]
        assert measured[0].report.gap == measured[1].report.gap
        assert measured[0].report.revision == measured[1].report.revision == revision
        await _check_refusals(mesh)


async def _check_refusals(mesh: ShardedMesh) -> None:
    """A reason names what cannot be had; a searcher of another part than the caller means refuses to answer at all."""
    async with _stubs(mesh) as (one, split):
        unsupported: Mapping[str, Any] = {
            "GetShadowReport": pb.IndexSearchServiceGetShadowReportRequest(collection="things"),
            "GetStructures": pb.GetStructuresRequest(collection="things"),
            "CompareCollections": pb.CompareCollectionsRequest(old_collection="things", new_collection="things"),
            "Search": pb.SearchRequest(collection="things", top_k=1, keywords="text"),
        }
        for method, message in unsupported.items():
            with pytest.raises(FailedPreconditionError) as caught:
                await call(getattr(split, method), message, backend="x")
            assert caught.value.reason == "SHARDED_UNSUPPORTED", method
        with pytest.raises(FailedPreconditionError) as caught:
            await _read(split, sample_count=5)
        assert caught.value.reason == "SHARDED_UNSUPPORTED"
        with pytest.raises(InvalidArgumentError) as wrong:
            await call(split.GetItems, pb.IndexSearchServiceGetItemsRequest(collection="things"), backend="x")
        assert wrong.value.reason == "EMPTY_INPUT"
        many = pb.IndexSearchServiceGetItemsRequest(collection="things", ids=[f"x{n}" for n in range(1_001)])
        with pytest.raises(ResourceExhaustedError):
            await call(split.GetItems, many, backend="x")
        # One that holds a part, taken for a searcher of everything; and parts in the wrong order.
        values = pb.ListValuesRequest(collection="things", attribute="colour")
        for addresses in ([mesh.shards[0].address], [mesh.shards[1].address, mesh.shards[0].address]):
            channels = [open_channel(address) for address in addresses]
            with pytest.raises(FailedPreconditionError) as caught:
                await call(search_stub(channels).ListValues, values, backend="x")
            assert caught.value.reason == "SHARD_MISMATCH"
            for channel in channels:
                await channel.close()
        assert (await call(one.ListValues, values, backend="x")).values


def test_addresses_are_separated_by_commas() -> None:
    """One is a searcher of everything; an empty one, and more than 64, are refused."""
    assert split_addresses("unix:/a, 127.0.0.1:1") == ("unix:/a", "127.0.0.1:1")
    assert len(split_addresses(",".join(f"h:{port}" for port in range(1, 65)))) == 64
    for wrong in ("", "a:1,", ",".join(f"h:{port}" for port in range(1, 66))):
        with pytest.raises(ValueError, match="index_search_address"):
            split_addresses(wrong)
