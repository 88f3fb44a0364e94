"""Aliases through the gateway, by client and command line, into the real index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli.main import app
from isthmus.client import AlreadyExistsError, AsyncClient, FailedPreconditionError, Item
from isthmus.v1 import gateway_service_pb2
from tests.integration.gateway_calls import create, request, text_item
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh

_ITEMS = [Item(id=f"t{number}", text=f"text {number}") for number in range(12)]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway in front of dummy encoders and the real index, with two collections."""
    async with gateway_mesh(data_dir=tmp_path) as running:
        for name in ("one", "two"):
            await create(running, name)
        yield running


async def test_reads_and_writes_under_an_alias_say_which_collection_it_was(mesh: GatewayMesh) -> None:
    """Upsert, get, search, delete, before and after a switch; the copies agree, so nothing has to be forced."""
    async with AsyncClient(mesh.gateway.address) as client:
        for name in ("one", "two"):
            await client.upsert(name, _ITEMS)
        for name in ("one", "two"):
            made = await client.set_alias("shop", name)
            assert made.collection == name
            got = await client.get_items("shop", ["t1"])
            found = await client.search("shop", text="text 3", modality="text", top_k=1)
            assert (got.collection, found.collection, found.neighbors[0].id) == (name, name, "t3")
            assert (await client.get_collection("shop")).name == name
        assert made.previous_collection == "one"
        assert made.comparison is not None
        assert made.comparison.neighbor_overlap == 1.0
        deleted = await client.delete("shop", ["t1"])
        assert (deleted.collection, deleted.deleted) == ("two", 1)
        assert (await client.get_items("one", ["t1"])).items
        with pytest.raises(FailedPreconditionError) as refused:
            await client.set_alias("shop", "one")
        assert refused.value.reason == "ALIAS_REFUSED"
        assert refused.value.metadata["figures"] == "12 text items instead of 11"
        with pytest.raises(FailedPreconditionError) as has_alias:
            await client.delete_collection("two")
        assert has_alias.value.metadata["alias"] == "shop"
        with pytest.raises(AlreadyExistsError):
            await client.set_alias("one", "two")


async def test_a_stream_that_runs_goes_where_the_alias_points_now(mesh: GatewayMesh) -> None:
    """Each request is one mutation of one collection, however long its stream has been open."""
    async with AsyncClient(mesh.gateway.address) as client:
        await client.set_alias("shop", "one")
        stream = mesh.stub.UpsertItems(timeout=30)
        told, revision = [], 0
        for number, target in enumerate(("one", "two")):
            await client.set_alias("shop", target, override_reason="a test")
            await stream.write(request(f"r{number}", [text_item(f"a{number}", "a")], collection="shop"))
            answer = await stream.read()
            assert isinstance(answer, gateway_service_pb2.UpsertItemsResponse)
            told.append(answer.collection)
            revision = answer.revision
        await stream.done_writing()
        assert told == ["one", "two"]
        assert [one.id for one in (await client.get_items("two", ["a0", "a1"], min_revision=revision)).items] == ["a1"]


async def test_the_command_line_sets_lists_and_deletes(mesh: GatewayMesh) -> None:
    """`isthmus aliases`, with one JSON document each."""

    async def isthmus(*arguments: str) -> object:
        line = ["aliases", *arguments, "--address", mesh.gateway.address, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, app, line)
        assert done.exit_code == 0
        return json.loads(done.stdout)

    made = await isthmus("set", "shop", "one")
    assert isinstance(made, dict)
    assert (made["name"], made["collection"], made["comparison"]) == ("shop", "one", None)
    assert await isthmus("list") == {"aliases": [made]}
    assert await isthmus("delete", "shop") == {"deleted": "shop"}
    assert await isthmus("list") == {"aliases": []}
